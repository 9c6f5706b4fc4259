#!/bin/sh
# The only process of the Linux guest: writes an increasing counter with the checksum of a file that grows with it.
# The file holds the numbers 1, 2, 3, ... one a line: FIRST of them at the start, one more each time. So its checksum
# can be foretold, and says whether the memory in which it lies is what it was.
mount -t proc proc /proc
mount -t tmpfs tmpfs /mem
FIRST=@FIRST@
seq 1 "$FIRST" >/mem/numbers
count=0
while :; do
  count=$((count + 1))
  echo "$((FIRST + count))" >>/mem/numbers
  sum=$(sha256sum </mem/numbers)
  echo "LINUX $count ${sum%% *}"
  sleep 0.05
done
