// lower() for SQLite that knows all letters, not only those of ASCII.
#pragma once

struct sqlite3;

namespace subforge::store {

// Replaces the connection's lower(). Where the system lacks the C.UTF-8 locale, SQLite's own stays.
void install_unicode_lower(sqlite3* handle);

}  // namespace subforge::store
