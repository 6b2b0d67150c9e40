# cmake -D IN=... -D OUT=... -D FIND=... -D PUT=... -P replace_text.cmake
#
# Writes OUT as IN with one text in place of another, which must be there.
file(READ "${IN}" text)
string(FIND "${text}" "${FIND}" at)
if(at EQUAL -1)
  message(FATAL_ERROR "${IN} has no ${FIND} to replace any more")
endif()
string(REPLACE "${FIND}" "${PUT}" text "${text}")
file(WRITE "${OUT}" "${text}")
