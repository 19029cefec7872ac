# Writes a C table of text files: cmake -DROOT=folder -DLIST=file -DOUT=table.c -P embed.cmake
# LIST holds the files' paths under ROOT, one a line, each ending in .kd. Rows are sorted by name, for a binary search.
file(STRINGS "${LIST}" files)
list(SORT files)
set(rows "")
set(texts "")
set(i 0)
foreach(f IN LISTS files)
  file(READ "${ROOT}/${f}" t)
  string(REPLACE "\\" "\\\\" t "${t}")
  string(REPLACE "\"" "\\\"" t "${t}")
  string(REPLACE "?" "\\?" t "${t}")             # no trigraphs
  string(REPLACE "\r" "\\r" t "${t}")
  string(REPLACE "\n" "\\n\"\n  \"" t "${t}")
  string(REGEX REPLACE "\\.kd$" "" name "${f}")
  string(APPEND texts "static const char text${i}[] =\n  \"${t}\";\n")
  string(APPEND rows "  { \"${name}\", text${i}, sizeof text${i} - 1 },\n")
  math(EXPR i "${i} + 1")
endforeach()
file(WRITE "${OUT}.new" "/* Made by cmake/embed.cmake from the .kd files of the library. */\n#include \"compiler/api/embed.h\"\n${texts}
const kd__embedded kd__stdlib[] = {\n${rows}  { 0, 0, 0 }\n};\nconst size_t kd__nstdlib = ${i};\n")
file(COPY_FILE "${OUT}.new" "${OUT}" ONLY_IF_DIFFERENT)
file(TOUCH_NOCREATE "${OUT}")
