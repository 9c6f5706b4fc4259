/** Whether a machine is built on PCI Express. */
export const isQ35 = (machine: string): boolean => machine === 'q35' || machine.startsWith('pc-q35-');
