/** What a fault is: it strikes while an agent stands still at a point, lasts, and is healed. */
import type { Side } from '@ferry/lab';
import type { Caller, Mode } from './drive.ts';
import type { Point } from './points.ts';
import type { LinkMode, Proxy } from './proxy.ts';
import { type HostName, leaseMs, type Stage, type StageGuest } from './stage.ts';

/** Where a fault strikes. */
export interface Scene {
  readonly stage: Stage;
  readonly caller: Caller;
  readonly guest: StageGuest;
  readonly from: HostName;
  readonly to: HostName;
  /** Whose agent stands still. */
  readonly side: Side;
  readonly point: Point;
  /** The way that memory takes, once it has one. */
  readonly stream: Proxy | undefined;
  /** Bytes of Redis's file when the migration began. */
  readonly redisBytes: number;
  /** 0 to 1, the same for the same case. */
  readonly chance: number;
}

/** The end of a QEMU, and whether it explains that no copy is left. */
export interface Kill {
  readonly host: HostName;
  readonly excuses: (record: Readonly<Record<string, string>>) => boolean;
}

interface Struck {
  /** How long the fault stays, ms. */
  readonly lastsMs: number;
  readonly heal: () => Promise<void>;
  /** When no agent stands still any more. */
  readonly after?: () => Promise<void>;
  /** The agent that stands still is a victim: it does so until the fault is healed. */
  readonly holds?: boolean;
  readonly killed?: Kill;
}

type Place = { readonly protocol: 2 | 3; readonly mode: Mode; readonly side: Side; readonly point: Point };

/** What a fault acts on. */
export type Thing =
  | `${Side}-${'agent' | 'qemu'}`
  | 'redis'
  | 'redis-links'
  | 'agent-links'
  | 'stream'
  | 'disk'
  | 'caller';

export interface Fault {
  readonly what: string;
  readonly acts: readonly Thing[];
  /** Whether it can happen there at all. */
  readonly applies: (at: Place) => boolean;
  /** Undefined if there is nothing to strike: no QEMU there yet, say. */
  readonly strike: (scene: Scene) => Promise<Struck | undefined>;
  /** One agent was restarted: settled sooner than after the others. */
  readonly restart?: true;
  /** Needs the way of the memory through a proxy, which begins like that. */
  readonly stream?: LinkMode;
}

export const always = (): boolean => true;
export const nothing = async (): Promise<void> => undefined;
export const stoppedMs = leaseMs * 1.3;

export const agentOf = ({ stage, from, to }: Scene, side: Side) => stage.agent(side === 'source' ? from : to, side);
export const hostOf = ({ from, to }: Scene, side: Side): HostName => (side === 'source' ? from : to);
