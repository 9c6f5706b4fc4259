/** Whether a machine is built on PCI Express. */
export const isQ35 = (machine: string): boolean => machine.includes('q35');
