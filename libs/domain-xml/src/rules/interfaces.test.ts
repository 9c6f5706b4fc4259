import { describe, expect, it } from '@jest/globals';
import { refusalsOf } from '../testing/refusals.ts';

const card = (type: string, driver: string, more = '', model = 'virtio') =>
  `<interface type='${type}'>${more}<model type='${model}'/>${driver}</interface>`;
const socket = (more = '') => `<source type='unix' path='/a' mode='server'>${more}</source>`;

describe('a network card', () => {
  it.each([
    [card('user', "<driver rx_queue_size='300'/>"), '/interface/driver/@rx_queue_size 300 is not a power of two'],
    [card('user', "<driver queues='2'/>"), '/interface/driver/@queues a network of type user has one queue'],
    [
      card('user', "<driver><host gso='off'/></driver>", '', 'e1000'),
      '/interface/driver/host only a virtio card has host',
    ],
    [card('client', '', "<source port='9'/>"), '/interface/source attribute address is missing'],
    [
      card('vhostuser', '', socket(), 'e1000'),
      '/interface/model/@type the process behind the socket serves virtio cards',
    ],
    [
      card('vhostuser', '', socket("<reconnect enabled='yes' timeout='1'/>")),
      '/interface/source/reconnect who is connected to cannot connect again',
    ],
  ])('is refused: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));

  it.each([
    card('ethernet', "<driver name='vhost' queues='2' tx_queue_size='512'/>"),
    // As with libvirt: QEMU serves it, whatever is said of the kernel.
    card('user', "<driver name='vhost'/>"),
    card('server', '', "<source port='9'/>"),
    card('vhostuser', "<driver name='vhost' queues='2'/>", socket()),
  ])('is not: %s', (devices) => expect(refusalsOf(devices)).toEqual([]));
});
