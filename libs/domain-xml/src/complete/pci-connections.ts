import type { Controller } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { Filesystem } from '../vocabulary/small-devices.ts';
import type { Connection } from './pci-buses.ts';

/** Which kind of slot each device needs; undefined for one that is not on PCI (qemuDomainDeviceCalculatePCIConnectFlags). */
export class Connections {
  /** What an Express device is on this machine. */
  readonly #express: Connection;

  constructor(q35: boolean) {
    this.#express = q35 ? 'pcie-device' : 'pci-device';
  }

  /** A transitional device only works in a conventional slot. */
  virtio(model: string | undefined): Connection {
    return model === 'virtio-transitional' ? 'pci-device' : this.#express;
  }

  controller(controller: Controller): Connection | undefined {
    switch (controller.type) {
      case 'pci':
        return controller.model === 'pci-root' || controller.model === 'pcie-root' ? undefined : controller.model;
      case 'usb':
        if (controller.model === 'none') return undefined;
        return controller.model === 'nec-xhci' || controller.model === 'qemu-xhci' ? this.#express : 'pci-device';
      case 'scsi':
        return controller.model === 'virtio-scsi' || controller.model === 'virtio-non-transitional'
          ? this.#express
          : 'pci-device';
      case 'virtio-serial':
        return this.virtio(controller.model);
      case 'sata':
      case 'ide':
        return 'pci-device';
      case 'fdc':
      case 'ccid':
        return undefined;
      default:
        return controller satisfies never;
    }
  }

  filesystem({ model }: Filesystem): Connection {
    return this.virtio(model);
  }

  disk(disk: Devices['disk'][number]): Connection | undefined {
    return disk.target.bus === 'virtio' ? this.virtio(disk.model) : undefined;
  }

  interface(card: Devices['interface'][number]): Connection {
    const model = card.model?.type;
    if (model === 'e1000e') return this.#express;
    return model === 'virtio' || model === 'virtio-non-transitional' ? this.#express : 'pci-device';
  }

  sound({ model }: Devices['sound'][number]): Connection | undefined {
    if (model === 'virtio') return this.#express;
    return ['ac97', 'es1370', 'ich6', 'ich9'].includes(model) ? 'pci-device' : undefined;
  }

  video(video: Devices['video'][number]): Connection | undefined {
    const type = video.model?.type;
    if (type === undefined || type === 'none' || type === 'ramfb') return undefined;
    return type === 'virtio' || type === 'bochs' ? this.#express : 'pci-device';
  }

  input(input: Devices['input'][number]): Connection | undefined {
    return input.bus === 'virtio' ? this.virtio(input.model) : undefined;
  }

  watchdog({ model }: Devices['watchdog'][number]): Connection | undefined {
    return model === 'i6300esb' ? 'pci-device' : undefined;
  }

  serial({ target }: Devices['serial'][number]): Connection | undefined {
    return target?.type === 'pci-serial' ? 'pci-device' : undefined;
  }

  panic({ model }: Devices['panic'][number]): Connection | undefined {
    return model === 'pvpanic' ? 'pci-integrated' : undefined;
  }

  iommu({ model }: NonNullable<Devices['iommu']>): Connection | undefined {
    return model === 'virtio' ? (this.#express === 'pcie-device' ? 'pcie-integrated' : 'pci-integrated') : undefined;
  }
}
