/** The host's own list of names and roles, for certificates that do not say their role themselves. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type RoleGrant, roles } from './callers.ts';

const grantsMax = 10_000;
/** Of domains in one grant. */
const patternsMax = 1_000;

const schema = z
  .array(
    z
      .strictObject({
        name: z.string().min(1).max(1_000),
        role: z.enum(roles),
        host: z
          .string()
          .regex(/^[A-Za-z0-9._-]{1,253}$/, 'must be a host name')
          .optional(),
        domains: z.array(z.string().min(1).max(255)).min(1).max(patternsMax).optional(),
      })
      .refine(({ role, host }) => (role === 'agent') === (host !== undefined), 'an agent has a host, others have none')
      .refine(
        ({ role, domains }) => role !== 'agent' || domains === undefined,
        'an agent’s domains are those of its host’s migrations: leave domains out',
      ),
  )
  .max(grantsMax);

/**
 * Reads `[{"name": "spiffe://…" | "DNS:…" | subject, "role": ROLE, "host": HOST, "domains": [NAME | UUID]}]`. Throws the errors of the file system, SyntaxError, or an error that
 * names what is wrong.
 */
export function readRoles(path: string): readonly RoleGrant[] {
  const parsed = schema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (parsed.success) return parsed.data;
  throw new Error(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}
