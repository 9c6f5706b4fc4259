/** What a document asks of this host's kernel that Ferry does not do: refused by name, or left out where the host's configuration says so. */
import { type Domain, type HostWish, hostWishes, type XmlProblem } from '@ferry/domain-xml';
import type { Exposure } from './exposure.ts';
import { HypervisorError } from './errors.ts';

const ways: Readonly<
  Record<HostWish['kind'], { readonly verb: string; readonly instead: string; readonly allow?: Exposure }>
> = {
  limit: {
    verb: 'applies no limits to one guest',
    instead: "give the unit that runs the agent's guests a limit",
    allow: 'unapplied-limits',
  },
  filter: {
    verb: 'filters no traffic',
    instead: 'filter at the bridge',
    allow: 'unapplied-filters',
  },
  network: {
    verb: 'makes no such port',
    instead: "plug the card into a bridge (type='bridge'), or make the tap and name it (type='ethernet', managed='no')",
  },
};

export function hostWishProblems(domain: Domain, allowed: ReadonlySet<string>): HypervisorError[] {
  return hostWishes(domain).flatMap(({ path, what, kind }) => {
    const { verb, instead, allow } = ways[kind];
    if (allow !== undefined && allowed.has(allow)) return [];
    const or = allow === undefined ? '' : `, or add ${allow} to FERRY_ALLOW there and restart its agents to do without`;
    const message = `domain ${domain.name} asks for ${what} (${path}), and Ferry ${verb} on this host: ${instead}${or}`;
    return [new HypervisorError('host-lacks', message)];
  });
}

/** What is left out because the host's configuration says so. */
export function hostWishNotes(domain: Domain, allowed: ReadonlySet<string>): XmlProblem[] {
  return hostWishes(domain).flatMap(({ path, what, kind }) => {
    const { allow, instead } = ways[kind];
    if (allow === undefined || !allowed.has(allow)) return [];
    const hint = `${instead.charAt(0).toUpperCase()}${instead.slice(1)}`;
    return [{ path, line: 0, what: `${what} is not applied, as this host's configuration allows`, hint }];
  });
}
