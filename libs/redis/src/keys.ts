import assert from 'node:assert/strict';

/** Whether it is a domain's UUID in lower case. */
export const isDomain = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);

/** All keys of a domain carry its UUID as hash tag, so that one script may touch them all. */
export function tagOf(domain: string): string {
  // The edge refuses other texts; here a brace in one would move the keys to another domain's slot.
  assert(isDomain(domain), 'a domain is named by its lower-case UUID');
  return `ferry:{${domain}}`;
}

/** The domain whose key it is. */
export const domainOfKey = (key: string): string => key.slice('ferry:{'.length, key.indexOf('}'));
