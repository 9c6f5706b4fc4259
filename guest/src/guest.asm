; A tiny x86 guest whose output proves that its memory and its time survived a migration.
;
; It is a firmware ROM: the reset vector enters 32-bit protected mode, the configuration is read from the fw_cfg
; file opt/ferry.guest, and from then on one line is written to the serial port every tick. What it does is a function
; of its configuration alone (model.ts computes the same), so that every byte of its output can be foretold:
;
;   working set   PAGES pages from 1 MiB on. Page p in generation g holds, in each 64-byte line i, the word
;                 value(p, g) + i * STEP.
;   each tick     1. writes the next pages of the working set (as many as the rate asks for): each is read and compared
;                    with its generation, then filled with the next one; after the last page a new generation begins;
;                 2. reads and compares the next pages of a sweep over the whole set;
;                 3. writes a line. The checksum folds in the sum of the words found in every page that was read.
;
; Everything that changes lives in RAM and so travels with a migration; code and constants stay in the ROM.

bits 16
org 0xFFFF0000

ROM_BYTES     equ 0x10000
WORKING_SET   equ 0x100000         ; above the legacy hole
STACK_TOP     equ 0x7000
STATE         equ 0x7000           ; variables
LINE          equ 0x8000           ; a line being built
CONFIG        equ 0x9000           ; text of the configuration
DIRECTORY     equ 0xA000           ; one fw_cfg directory entry

STEP          equ 0x9E3779B1
PAGE_FACTOR   equ 0x9E3779B1
GEN_FACTOR    equ 0x85EBCA77
MIX_FACTOR    equ 0x2C1B3C6D

LINE_BYTES    equ 64               ; distance of the words in a page
CONFIG_MAX    equ 1024
RAM_MAX_MIB   equ 2048             ; where RAM below 4 GiB ends at the earliest, on both machines, when there is more
PAGE_UNITS    equ 4000             ; the rate is counted in KiB/s * ms: a page is 4 KiB * 1000 ms
BAD_LINES_MAX equ 4                ; in one tick; the count goes on

COM1          equ 0x3F8
LAPIC         equ 0xFEE00000
FW_CFG_SELECT equ 0x510
FW_CFG_DATA   equ 0x511
FW_CFG_RAM_SIZE equ 0x03
FW_CFG_FILE_DIR equ 0x19

struc state
  .pages:      resd 1              ; configuration
  .rate_kib:   resd 1
  .tick_ms:    resd 1
  .sweep_ms:   resd 1
  .seed:       resd 1
  .irqs_per_tick: resd 1
  .units:      resd 1              ; rate_kib * tick_ms: due in each tick
  .sweep_pages: resd 1             ; read in each tick
  .ram_mib:    resd 1
  .irqs:       resd 1              ; timer interrupts since the last tick
  .tick:       resd 1
  .checksum:   resd 1
  .due:        resd 1              ; units not yet written
  .write_at:   resd 1              ; next page to write
  .generation: resd 1              ; of the pages from write_at on; those before it are one further
  .sweep_at:   resd 1              ; next page to read
  .sweeps:     resd 1
  .bad:        resd 1
  .bad_lines:  resd 1              ; still allowed in this tick
  .size:
endstruc
%define var(name) dword [STATE + state. %+ name]

; Empties the TLB by changing CR0.WP, which means nothing without paging. Changes ecx.
; QEMU before 9.0 loses writes under TCG: when it takes stock of dirty pages in whole words of its bitmap it leaves the
; TLB's entries as they are, and what is written through them afterwards is not migrated (fixed by "physmem: Fix migration
; dirty bitmap coherency with TCG memory access"). A processor that runs an operating system empties its TLB all the time;
; this guest does it before each group of writes.
%macro empty_tlb 0
  mov ecx, cr0
  xor ecx, 0x10000
  mov cr0, ecx
%endmacro

; ---------------------------------------------------------------------------------------------------- entry

gdt:
  dq 0
  ; Flat segments. The accessed bits are set, since the processor could not set them in a ROM.
  dw 0xFFFF, 0
  db 0, 0x9B, 0xCF, 0
  dw 0xFFFF, 0
  db 0, 0x93, 0xCF, 0
gdt_pointer:
  dw $ - gdt - 1
  dd gdt

start16:
  cli
  o32 lgdt [cs:gdt_pointer - $$]
  mov eax, cr0
  or al, 1
  and eax, 0x9FFFFFFF              ; caches on
  mov cr0, eax
  jmp dword 0x08:start32

bits 32
start32:
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov esp, STACK_TOP
  cld
  in al, 0x92                      ; A20 on, no reset
  or al, 2
  and al, 0xFE
  out 0x92, al

  mov edi, STATE
  mov ecx, state.size / 4
  xor eax, eax
  rep stosd

  call serial_init
  call read_config
  call derive
  call fill_working_set
  call print_header
  lidt [idt_pointer]
  call timer_init

; ---------------------------------------------------------------------------------------------------- ticks

next_tick:
  cli
  mov eax, var(irqs)
  cmp eax, var(irqs_per_tick)
  jae .due
  empty_tlb
  sti                              ; takes effect after hlt: no interrupt is slept through
  hlt
  jmp next_tick
.due:
  empty_tlb
  mov var(irqs), 0                 ; a guest that is late does not hurry afterwards
  sti
  inc var(tick)
  mov var(bad_lines), BAD_LINES_MAX
  call write_pages
  call sweep_pages
  call print_tick
  jmp next_tick

; Writes the pages that are due by now, each after comparing what it held.
write_pages:
  mov eax, var(due)
  add eax, var(units)
  xor edx, edx
  mov ecx, PAGE_UNITS
  div ecx
  mov var(due), edx
  mov ebp, eax                     ; pages to write
.page:
  test ebp, ebp
  jz .done
  empty_tlb
  mov ebx, var(write_at)
  mov ecx, var(generation)
  call check_page
  mov ebx, var(write_at)
  mov ecx, var(generation)
  inc ecx
  call fill_page
  empty_tlb
  mov eax, [edi - LINE_BYTES]      ; once more, so that the page is dirty after all of it was written
  mov [edi - LINE_BYTES], eax
  mov ebx, var(write_at)
  inc ebx
  cmp ebx, var(pages)
  jb .same_generation
  xor ebx, ebx
  inc var(generation)
.same_generation:
  mov var(write_at), ebx
  dec ebp
  jmp .page
.done:
  ret

; Reads and compares the next pages of the sweep.
sweep_pages:
  mov ebp, var(sweep_pages)
.page:
  empty_tlb
  mov ebx, var(sweep_at)
  mov ecx, var(generation)
  cmp ebx, var(write_at)
  adc ecx, 0                       ; pages below write_at are one generation further
  call check_page
  mov ebx, var(sweep_at)
  inc ebx
  cmp ebx, var(pages)
  jb .same_sweep
  xor ebx, ebx
  inc var(sweeps)
.same_sweep:
  mov var(sweep_at), ebx
  dec ebp
  jnz .page
  ret

; ---------------------------------------------------------------------------------------------------- pages

; ebx page, ecx generation -> eax value of its first word, edi its address. Changes edx.
value_of:
  imul eax, ebx, PAGE_FACTOR
  imul edx, ecx, GEN_FACTOR
  add eax, edx
  add eax, var(seed)
  mov edx, eax
  shr edx, 15
  xor eax, edx
  imul eax, eax, MIX_FACTOR
  mov edx, eax
  shr edx, 12
  xor eax, edx
  mov edi, ebx
  shl edi, 12
  add edi, WORKING_SET
  ret

; ebx page, ecx generation: fills the page. Keeps ebx, ebp.
fill_page:
  call value_of
.words:
%assign i 0
%rep 8
  mov [edi + i * LINE_BYTES], eax
  add eax, STEP
%assign i i + 1
%endrep
  add edi, 8 * LINE_BYTES
  test edi, 0xFFF
  jnz .words
  ret

; ebx page, ecx generation: compares the page and folds what it holds into the checksum. Keeps ebx, ebp.
check_page:
  push ecx
  call value_of
  xor esi, esi                     ; sum of what is there
  xor edx, edx                     ; bits that differ from what should be
.words:
%assign i 0
%rep 8
  mov ecx, [edi + i * LINE_BYTES]
  add esi, ecx
  xor ecx, eax
  or edx, ecx
  add eax, STEP
%assign i i + 1
%endrep
  add edi, 8 * LINE_BYTES
  test edi, 0xFFF
  jnz .words
  mov eax, var(checksum)
  rol eax, 5
  add eax, esi
  mov var(checksum), eax
  pop ecx
  test edx, edx
  jnz report_bad
  ret

; ebx page, ecx generation: counts a page that is not what it should be, and names its first wrong word. Keeps ebx, ebp.
report_bad:
  inc var(bad)
  cmp var(bad_lines), 0
  je .done
  dec var(bad_lines)
  call value_of
.search:
  mov edx, [edi]
  cmp edx, eax
  jne .found
  add eax, STEP
  add edi, LINE_BYTES
  test edi, 0xFFF
  jnz .search
.found:                            ; a page that was right when read again is told with expected = found
  push ebx
  push edx
  push eax
  mov edx, edi
  dec edx
  shr edx, 6
  inc edx
  and edx, 63                      ; word in page
  push edx
  mov edi, LINE
  mov eax, 'BAD '
  stosd
  mov eax, var(tick)
  mov ecx, 8
  call put_decimal
  mov eax, ebx
  mov ecx, 8
  call put_decimal
  pop eax
  mov ecx, 2
  call put_decimal
  pop eax
  call put_hex
  pop eax
  call put_hex
  pop ebx
  call put_line
.done:
  ret

fill_working_set:
  xor ebx, ebx
.page:
  xor ecx, ecx
  call fill_page
  inc ebx
  cmp ebx, var(pages)
  jb .page
  ret

; ---------------------------------------------------------------------------------------------------- output

; T <tick> <checksum> <sweeps> <bad>
print_tick:
  empty_tlb
  mov edi, LINE
  mov ax, 'T '
  stosw
  mov eax, var(tick)
  mov ecx, 8
  call put_decimal
  mov eax, var(checksum)
  call put_hex
  mov eax, var(sweeps)
  mov ecx, 6
  call put_decimal
  mov eax, var(bad)
  cmp eax, 9999
  jbe .bad_fits
  mov eax, 9999
.bad_fits:
  mov ecx, 4
  call put_decimal
  jmp put_line

; FERRY 1 <pages> <rate in KiB/s> <tick in ms> <sweep in ms> <seed>
print_header:
  mov edi, LINE
  mov eax, 'FERR'
  stosd
  mov eax, 'Y 1 '
  stosd
  mov eax, var(pages)
  mov ecx, 8
  call put_decimal
  mov eax, var(rate_kib)
  mov ecx, 8
  call put_decimal
  mov eax, var(tick_ms)
  mov ecx, 4
  call put_decimal
  mov eax, var(sweep_ms)
  mov ecx, 8
  call put_decimal
  mov eax, var(seed)
  call put_hex
  jmp put_line

; eax number, ecx digits, edi where: writes the digits and a space; edi is behind them. Changes eax, ecx, edx, esi.
; A larger number loses its upper digits.
put_decimal:
  push ebx
  mov ebx, 10
  lea esi, [edi + ecx]
  push esi
.digit:
  dec esi
  xor edx, edx
  div ebx
  add dl, '0'
  mov [esi], dl
  cmp esi, edi
  ja .digit
  pop edi
  mov byte [edi], ' '
  inc edi
  pop ebx
  ret

; eax number, edi where: writes eight digits and a space. Changes eax, ecx, edx.
put_hex:
  mov edx, eax
  mov ecx, 8
.digit:
  rol edx, 4
  mov eax, edx
  and eax, 15
  mov al, [digits + eax]
  stosb
  loop .digit
  mov al, ' '
  stosb
  ret

digits: db '0123456789abcdef'

; edi behind the line's last space, which becomes its newline: writes LINE to the serial port. Changes eax, ecx, edx, esi.
put_line:
  empty_tlb
  mov byte [edi - 1], 10
  mov ecx, edi
  mov esi, LINE
  sub ecx, esi
; esi text, ecx bytes: to the serial port, as many at once as its queue holds.
serial_write:
  mov eax, 16
  cmp ecx, eax
  jae .wait
  mov eax, ecx
.wait:
  mov edx, ecx
  empty_tlb
  mov ecx, edx
  push eax
  mov edx, COM1 + 5
.poll:
  in al, dx
  test al, 0x20                    ; queue is empty
  jnz .empty
  pause
  jmp .poll
.empty:
  pop eax
  sub ecx, eax
  push ecx
  mov ecx, eax
  mov edx, COM1
  rep outsb
  pop ecx
  test ecx, ecx
  jnz serial_write
  ret

serial_init:
  mov esi, .registers
.next:
  lodsw
  test ah, ah
  jz .done
  movzx edx, ah
  add edx, COM1 - 0x80
  out dx, al
  jmp .next
.done:
  ret
; Value, 0x80 + register: no interrupts, 115200 baud, 8N1, queues on and empty, DTR and RTS.
.registers:
  db 0x00, 0x81, 0x80, 0x83, 0x01, 0x80, 0x00, 0x81, 0x03, 0x83, 0x07, 0x82, 0x03, 0x84, 0, 0

; esi zero-terminated text: says it and stops for ever.
fail:
  cli
  push esi
  mov esi, error_prefix
  mov ecx, error_prefix.end - error_prefix
  call serial_write
  pop esi
  mov edi, esi
  xor ecx, ecx
.length:
  cmp byte [edi + ecx], 0
  je .write
  inc ecx
  jmp .length
.write:
  call serial_write
.stop:
  cli
  hlt
  jmp .stop

error_prefix: db 'ERR '
.end:

; ---------------------------------------------------------------------------------------------------- configuration

; eax fw_cfg item: selects it.
select:
  mov edx, FW_CFG_SELECT
  out dx, ax
  mov edx, FW_CFG_DATA
  ret

read_config:
  mov eax, FW_CFG_RAM_SIZE
  call select
  mov edi, DIRECTORY
  mov ecx, 8
  rep insb
  mov eax, [DIRECTORY]
  mov edx, [DIRECTORY + 4]
  shrd eax, edx, 20
  shr edx, 20
  jnz .much
  cmp eax, RAM_MAX_MIB
  jbe .ram
.much:
  mov eax, RAM_MAX_MIB
.ram:
  mov var(ram_mib), eax

  mov var(pages), 256              ; without a configuration: 1 MiB, idle, 10 ms
  mov var(tick_ms), 10
  mov var(sweep_ms), 1000

  mov eax, FW_CFG_FILE_DIR
  call select
  mov edi, DIRECTORY
  mov ecx, 4
  rep insb
  mov ebx, [DIRECTORY]
  bswap ebx                        ; files
.file:
  test ebx, ebx
  jz .none
  dec ebx
  mov edi, DIRECTORY               ; size (4), item (2), reserved (2), name (56), big-endian
  mov ecx, 64
  rep insb
  mov esi, DIRECTORY + 8
  mov edi, config_name
  mov ecx, config_name.end - config_name
  repe cmpsb
  jne .file
  mov ecx, [DIRECTORY]
  bswap ecx
  cmp ecx, CONFIG_MAX
  ja .too_long
  mov ax, [DIRECTORY + 4]
  xchg al, ah
  call select
  mov edi, CONFIG
  rep insb
  mov byte [edi], 0
  mov esi, CONFIG
  jmp parse
.none:
  ret
.too_long:
  mov esi, error_syntax
  jmp fail

config_name: db 'opt/ferry.guest', 0
.end:

; esi zero-terminated text: words KEY=NUMBER with an optional K, M or G, separated by spaces.
parse:
  lodsb
  cmp al, ' '
  je parse
  cmp al, 10
  je parse
  test al, al
  jz .done
  dec esi
  mov ebx, keys
.key:                              ; an entry: length, text, where the value goes
  movzx ecx, byte [ebx]
  jecxz .bad
  push esi
  lea edi, [ebx + 1]
  repe cmpsb
  je .value
  pop esi
  movzx ecx, byte [ebx]
  lea ebx, [ebx + ecx + 5]
  jmp .key
.value:
  add esp, 4
  mov ebp, [edi]
  xor eax, eax
  movzx ecx, byte [esi]
  sub ecx, '0'
  cmp ecx, 9
  ja .bad                          ; at least one digit
.digit:
  movzx ecx, byte [esi]
  sub ecx, '0'
  cmp ecx, 9
  ja .suffix
  mov edx, 10
  mul edx
  jc .bad
  add eax, ecx
  jc .bad
  inc esi
  jmp .digit
.suffix:
  mov edx, 1
  movzx ecx, byte [esi]
  cmp cl, 'K'
  je .kilo
  cmp cl, 'M'
  je .mega
  cmp cl, 'G'
  jne .store
  shl edx, 10
.mega:
  shl edx, 10
.kilo:
  shl edx, 10
  inc esi
  mul edx
  jc .bad
.store:
  mov [ebp], eax
  cmp byte [esi], ' '
  je parse
  cmp byte [esi], 10
  je parse
  cmp byte [esi], 0
  jne .bad
.done:
  ; dirty and rate are stored as given, in bytes; pages holds 256 if dirty was never given.
  ret
.bad:
  mov esi, error_syntax
  jmp fail

%macro key 2
  %strlen key_length %1
  db key_length, %1
  dd STATE + state. %+ %2
%endmacro
keys:
  key 'dirty=', irqs               ; bytes, until derive has looked at them
  key 'rate=', units               ; bytes per second, likewise
  key 'tick=', tick_ms
  key 'sweep=', sweep_ms
  key 'seed=', seed
  db 0

; Checks the configuration and computes what follows from it.
derive:
  mov eax, var(irqs)
  test eax, eax
  jz .pages_known
  mov esi, error_pages
  test eax, 0xFFF
  jnz fail
  shr eax, 12
  mov var(pages), eax
  mov var(irqs), 0
.pages_known:
  mov eax, var(pages)
  add eax, WORKING_SET >> 12
  mov ecx, var(ram_mib)
  shl ecx, 8
  mov esi, error_memory
  cmp eax, ecx
  ja fail

  mov eax, var(units)
  mov esi, error_rate
  test eax, 1023
  jnz fail
  shr eax, 10
  mov var(rate_kib), eax
  mov ecx, var(tick_ms)
  mov esi, error_tick
  lea edx, [ecx - 1]
  cmp edx, 999
  ja fail
  mul ecx                          ; below 2^22 * 1000
  mov var(units), eax

  mov ecx, var(sweep_ms)
  mov esi, error_sweep
  lea edx, [ecx - 1]
  cmp edx, 3600000 - 1
  ja fail
  mov eax, var(pages)              ; pages * tick / sweep, rounded up, at most all of them
  mul var(tick_ms)
  add eax, ecx
  dec eax
  div ecx                          ; below 2^30: edx is 0
  cmp eax, var(pages)
  jbe .sweep_fits
  mov eax, var(pages)
.sweep_fits:
  mov var(sweep_pages), eax
  ret

error_syntax: db 'opt/ferry.guest must be dirty=SIZE rate=SIZE tick=MS sweep=MS seed=N', 10, 0
error_pages:  db 'dirty must be a multiple of 4K', 10, 0
error_memory: db 'dirty does not fit into memory above 1 MiB', 10, 0
error_rate:   db 'rate must be a multiple of 1K', 10, 0
error_tick:   db 'tick must be 1 to 1000 ms', 10, 0
error_sweep:  db 'sweep must be 1 to 3600000 ms', 10, 0
error_fault:  db 'processor exception', 10, 0

; ---------------------------------------------------------------------------------------------------- time

; The PIT interrupts every tick, or several times if a tick is longer than its 16 bits can count (54 ms).
timer_init:
  mov dword [LAPIC + 0xF0], 0x12F  ; enabled, spurious vector 0x2F
  mov dword [LAPIC + 0x350], 0x700 ; its pin LINT0, masked after reset, passes the PIC's interrupts on
  mov esi, .pic_setup
  mov ecx, (.pic_setup_end - .pic_setup) / 2
.pic:
  lodsw
  movzx edx, ah
  out dx, al
  loop .pic
  mov eax, var(tick_ms)
  add eax, 49
  xor edx, edx
  mov ecx, 50
  div ecx
  mov var(irqs_per_tick), eax
  mov ebx, eax
  mov eax, var(tick_ms)
  mov ecx, 1193182
  mul ecx
  mov ecx, 1000
  div ecx
  xor edx, edx
  div ebx
  mov ebx, eax
  mov al, 0x34                     ; channel 0, rate generator
  out 0x43, al
  mov al, bl
  out 0x40, al
  mov al, bh
  out 0x40, al
  ret
; Value, port: both 8259 at vectors 0x20 and 0x28, all masked but the PIT.
.pic_setup:
  db 0x11, 0x20, 0x11, 0xA0, 0x20, 0x21, 0x28, 0xA1, 0x04, 0x21, 0x02, 0xA1, 0x01, 0x21, 0x01, 0xA1
  db 0xFE, 0x21, 0xFF, 0xA1
.pic_setup_end:

on_timer:
  push eax
  inc var(irqs)
  mov al, 0x20
  out 0x20, al
  pop eax
  iret

on_other:                          ; a spurious interrupt
  iret

on_fault:
  mov esi, error_fault
  jmp fail

%macro gate 1
  dw (%1 - $$) & 0xFFFF, 0x08, 0x8E00, 0xFFFF
%endmacro
align 8
idt:
%rep 32
  gate on_fault
%endrep
  gate on_timer
%rep 15
  gate on_other
%endrep
idt_pointer:
  dw $ - idt - 1
  dd idt

; ---------------------------------------------------------------------------------------------------- reset vector

times ROM_BYTES - 16 - ($ - $$) db 0
bits 16
  jmp start16
times ROM_BYTES - ($ - $$) db 0
