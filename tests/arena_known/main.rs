//! Faults that other regions, pools and arenas have or had, each as a test that it is not in this one.
//!
//! | where | what | test in |
//! | --- | --- | --- |
//! | bumpalo#105, #326 | rolling back keeps the newest chunk: 18 KB after going back to 2 KB | `memory` |
//! | bumpalo (manual of `reset_to_raw_checkpoint`) | what was allocated before a checkpoint and grown after it is lost | `memory` |
//! | falcosecurity/plugin-sdk-rs#72 | giving the last allocation back moves the pointer below what is alive | `memory` |
//! | bumpalo#26, #305; apache/apr#35; david-vanderson/dvui#322 | memory is kept for ever after a reset or an end | `memory` |
//! | ziglang/zig#15985 | a reset that keeps memory uses freed memory, and runs over a buffer's end | `memory` |
//! | protobuf#10294, #14571; openresty/lua-nginx-module#2036 | a loop of assignments grows without bound | `memory` |
//! | SSSD/sssd#7072, citus#767 | the right call with the wrong parent: nobody sees which one grows | `memory` |
//! | talloc.h (memlimit) | a limit that inner contexts evade | `memory` |
//! | scoder/lupa#211 | a low limit crashes at the beginning | `memory` |
//! | bumpalo#147, #133, meilisearch#6212 | destructors are never run | `endings` |
//! | nginx (`ngx_reset_pool`) | a reset does not run cleanups | `endings` |
//! | talloc | a destructor vetoes the end | `endings` |
//! | gnustep/libobjc2#217 | a release that pushes while the pool is popped | `endings` |
//! | ceph#52273 | a finalizer allocates in what is being closed | `endings` |
//! | wasmtime#8899 | leaving needs memory | `endings` |
//! | eulerto/wal2json#10 | an early return leaves the inner context current | `order` |
//! | percona/pg_stat_monitor#634 | a callback registered in a context that is no more | `order` |
//! | wasmtime (`RootScope`) | a handle is used after its scope | `order` |
//! | Nim#12616 | scopes need unwinding | `order` |
//! | GUI/nginx-upstream-dynamic-servers#21 | others refer into a pool that has gone | `references` |
//! | openchange#374 | stolen, and then freed with the parent | `references` |
//! | protobuf#8337, upb#378 | one reference keeps a whole arena; taking over must be able to fail | `references` |
//! | wasmtime#9669, #13316 | what went did not release, or one slot was forgotten | `references` |

mod endings;
mod ground;
mod memory;
mod order;
mod references;
