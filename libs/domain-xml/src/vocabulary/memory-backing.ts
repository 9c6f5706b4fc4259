import type { Of } from '../codec/element.ts';
import { element, type Report, textElement } from '../codec/element-codec.ts';
import { attribute, attributeOr, children, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, oneOf } from '../codec/scalar.ts';
import { present } from './common.ts';
import { numberSet } from './cpu.ts';

const pageUnits = oneOf('KiB', 'MiB', 'GiB', 'k', 'M', 'G');

/** What the guest's memory is made of on the host. */
export const memoryBacking = element({
  hugepages: optionalChild(
    element({
      page: children(
        element({
          size: attribute(integer(1, 2 ** 31)),
          unit: attributeOr(pageUnits, 'KiB'),
          nodeset: optionalAttribute(numberSet(127)),
        }),
      ),
    }),
  ),
  nosharepages: optionalChild(present),
  locked: optionalChild(present),
  source: optionalChild(element({ type: attribute(oneOf('memfd', 'anonymous', 'file')) })),
  access: optionalChild(element({ mode: attribute(oneOf('shared', 'private')) })),
  allocation: optionalChild(
    element({ mode: optionalAttribute(oneOf('immediate', 'ondemand')), threads: optionalAttribute(integer(1, 1024)) }),
  ),
  discard: optionalChild(present),
});

const nodeset = numberSet(1023);
/** `restrictive` is a matter of cgroups alone, which Ferry does not set. */
const mode = attributeOr(oneOf('strict', 'preferred', 'interleave'), 'strict');

/** Which of the host's NUMA nodes the memory comes from. */
export const numatune = element({
  memory: optionalChild(
    element(
      { mode, placement: optionalAttribute(oneOf('static')), nodeset: optionalAttribute(nodeset) },
      {
        check: ({ nodeset: nodes }, report) => {
          if (nodes === undefined) report('xml-invalid', '', 'attribute nodeset is missing', 'Name the nodes');
        },
      },
    ),
  ),
  memnode: children(element({ cellid: attribute(integer(0, 127)), mode, nodeset: attribute(nodeset) })),
});

/** I/O threads with numbers of their own. */
export const iothreadids = element({
  iothread: children(
    element(
      {
        id: attribute(integer(1, 1024)),
        thread_pool_min: optionalAttribute(integer(0, 1024)),
        thread_pool_max: optionalAttribute(integer(0, 1024)),
        poll: hostSide(
          optionalChild(
            element({
              max: optionalAttribute(integer(0, 2 ** 50)),
              grow: optionalAttribute(integer(0, 2 ** 50)),
              shrink: optionalAttribute(integer(0, 2 ** 50)),
            }),
          ),
        ),
      },
      {
        check: ({ thread_pool_min: min = 0, thread_pool_max: max = 64 }, report) => threadPool(min, max, report),
      },
    ),
  ),
});

const threadPool = (min: number, max: number, report: Report) => {
  if (min > max || max < 1)
    report('xml-invalid', '/@thread_pool_max', `it is less than ${Math.max(min, 1)}`, 'Raise it');
};

/** The thread that serves what has no I/O thread. */
export const defaultIothread = element(
  {
    thread_pool_min: optionalAttribute(integer(0, 1024)),
    thread_pool_max: optionalAttribute(integer(0, 1024)),
  },
  { check: ({ thread_pool_min: min = 0, thread_pool_max: max = 64 }, report) => threadPool(min, max, report) },
);

export const iothreads = textElement(integer(0, 1024));

export type MemoryBacking = Of<typeof memoryBacking>;
export type Numatune = Of<typeof numatune>;
