import { isQ35 } from '../machines.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';

type Os = DomainDocument['os'];

/** One of the firmwares that a machine can have. */
interface Firmware {
  readonly code: string;
  readonly variables: string;
  /** It keeps its variables from the guest by SMM, and boots only what is signed. */
  readonly isSecure: boolean;
  /** Its store of variables begins with the keys of those who sign. */
  readonly hasKeys: boolean;
}

/**
 * UEFI firmware of Debian's ovmf package, in the order of its descriptors in /usr/share/qemu/firmware. Always these, so that a document
 * becomes the same machine everywhere; where others are installed, the document has to name them.
 */
const firmwares: readonly Firmware[] = [
  {
    code: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd',
    variables: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd',
    isSecure: true,
    hasKeys: true,
  },
  {
    code: '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd',
    variables: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    isSecure: true,
    hasKeys: false,
  },
  {
    code: '/usr/share/OVMF/OVMF_CODE_4M.fd',
    variables: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    isSecure: false,
    hasKeys: false,
  },
];

/** What firmware a document gets, or why none. */
export type FirmwareChoice = Firmware | { readonly below: string; readonly what: string };

/** For a document that asks for UEFI and names no file (qemuFirmwareFillDomain): the first that does what it asks for. */
export function chooseFirmware({ os, features }: DomainDocument): FirmwareChoice | undefined {
  const { loader, nvram } = os;
  if (os.firmwareKind !== 'efi' || loader?.path !== undefined) return undefined;
  if (loader?.type === 'rom') return none('/loader/@type', 'is a ROM');
  if (loader?.readonly === false) return none('/loader/@readonly', 'has code and variables in one file');
  if (loader?.stateless === true) return none('/loader/@stateless', 'keeps no variables');
  if (loader?.format === 'qcow2') return none('/loader/@format', 'is a qcow2 image');
  if (loader?.format === undefined && nvram?.format === 'qcow2') return none('/nvram/@format', 'is a qcow2 image');
  const asked = (name: string) => os.firmware?.feature.find((one) => one.name === name)?.enabled;
  const fits = ({ isSecure, hasKeys, variables }: Firmware): boolean =>
    (!isSecure || (isQ35(os.type.machine ?? 'pc') && features?.smm?.state !== false)) &&
    (loader?.secure ?? isSecure) === isSecure &&
    (asked('secure-boot') ?? isSecure) === isSecure &&
    (asked('enrolled-keys') ?? hasKeys) === hasKeys &&
    (nvram?.template ?? variables) === variables;
  const found = firmwares.find(fits);
  if (found !== undefined) return found;
  const isKnown = firmwares.some(({ variables }) => variables === (nvram?.template ?? variables));
  return isKnown
    ? none('/@firmware', 'does all that is asked for')
    : none('/nvram/@template', 'begins with these variables');
}

const none = (below: string, what: string): FirmwareChoice => ({
  below,
  what: `there is no firmware of Debian's ovmf package that ${what}`,
});

/** Which firmware, and where it keeps its variables. */
export function completeFirmware(document: DomainDocument): Pick<DomainDocument, 'os' | 'features'> {
  const { os, features } = document;
  const choice = chooseFirmware(document);
  if (choice === undefined || 'what' in choice) return { os: completeFlash(document.name, os), ...given({ features }) };
  const { isSecure, hasKeys, code, variables } = choice;
  const chosen: Os = {
    ...os,
    firmware: {
      feature: [
        { enabled: hasKeys, name: 'enrolled-keys' },
        { enabled: isSecure, name: 'secure-boot' },
      ],
    },
    loader: { ...os.loader, readonly: true, type: 'pflash', ...(isSecure ? { secure: true } : {}), path: code },
    // Whatever it was asked to be: it begins as a copy of the template.
    nvram: { ...os.nvram, template: variables, templateFormat: 'raw', format: 'raw' },
  };
  const withSmm = isSecure ? { ...features, smm: { ...features?.smm, state: true } } : features;
  return { os: completeFlash(document.name, chosen), ...given({ features: withSmm }) };
}

const given = ({ features }: { readonly features: DomainDocument['features'] | undefined }) =>
  features === undefined ? {} : { features };

/** Firmware with a variable store is flash, and its code is not the guest's to write: people leave that out (qemuFirmwareFillDomainLegacy). */
function withFlash(os: Os): Os {
  const { loader, nvram } = os;
  if (loader === undefined || nvram === undefined || loader.type !== undefined) return os;
  return { ...os, loader: { ...loader, type: 'pflash', readonly: true } };
}

/** Flash images are raw unless it is said, and read-only ones keep their variables beside them (qemuDomainDefPostParse). */
function completeFlash(name: string, asked: Os): Os {
  const os = withFlash(asked);
  const { loader, nvram } = os;
  if (loader !== undefined && loader.type !== 'pflash') return { ...os, loader: { ...loader, type: 'rom' } };
  if (loader === undefined) return os;
  const isSplit = loader.readonly === true && loader.stateless !== true;
  const store = nvram ?? (isSplit ? { format: loader.format ?? 'raw' } : undefined);
  return {
    ...os,
    loader: { ...loader, format: loader.format ?? 'raw' },
    ...(store === undefined ? {} : { nvram: completeNvram(name, store) }),
  };
}

/** Where libvirt keeps it (qemuDomainNVRAMPathFormat). */
function completeNvram(name: string, store: NonNullable<Os['nvram']>): typeof store {
  const format = store.format ?? store.templateFormat ?? 'raw';
  return {
    ...store,
    path: store.path ?? `/var/lib/libvirt/qemu/nvram/${name}_VARS.${format === 'raw' ? 'fd' : format}`,
    format,
    ...(store.template === undefined ? {} : { templateFormat: store.templateFormat ?? format }),
  };
}
