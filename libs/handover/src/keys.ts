import { tagOf } from '@ferry/redis';

/** The record of who owns the domain's guest (hash). */
export const ownerKeyOf = (domain: string): string => `${tagOf(domain)}:owner`;

/** Matches the ownership records of all domains, for SCAN. */
export const ownerKeys = 'ferry:{*}:owner';
