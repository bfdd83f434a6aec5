//! References from outside into an arena that ends: found, told, and dealt with.
//!
//! Guarantees
//! * Nothing is looked for when GC_assign counted none, unless KN_ARENA_CHECK_LEAVE asks for it, or a part of an
//!   arena ends whose older cells may refer to it.
//! * Looked at are: the slots of all counted cells of the heap, of the cells of its other arenas, and of named
//!   roots; with KN_ARENA_CHECK_LEAVE also every word of resident blocks. A slot that is dealt with does not
//!   refer into the arena any more.
//! * Words of raw memory are told and left as they are: they may be numbers.
//! * Cells that are dead already, and wait for their destruction, lose their reference silently.
//!
//! ```text
//!   counted cells   ---\
//!   other arenas' cells --> slot --> in what ends?  --> told, and by policy:  NULL | a copy | trap
//!   named roots     ---/
//!   resident blocks --> word --> told
//! ```
//! Cost: O(cells and references of the heap), once, if there is anything to find. No memory, but for copies.
//!
//! Source: what may hold a reference is the ancestor rule of the Apache Portable Runtime's pools
//! (apr_pools.h); that nobody has to look when none was counted is Knoll's.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

#[cfg(feature = "counted")]
use super::arena::each;
use super::arena::HELD_ROOTS;
use super::arena::{each_held, innermost, SCOPE, UNSURE};
use super::config::{
    KnEscape, KnLeaveReport, KN_ARENA_CHECK_LEAVE, KN_ESCAPE_NULL, KN_ESCAPE_PROMOTE, KN_ESCAPE_REFUSE, KN_ESCAPE_TELL,
    KN_ESCAPE_TRAP,
};
use super::end::Tail;
use super::keep::KnRootRange;
use super::{always, KnArena};
use crate::heap::KnStatus;
use crate::port::{self, Callback};

/// Who holds a slot.
struct Holder {
    at: *const u8,
    kind: *const c_char,
    field: *const c_char,
    /// It is dead and waits.
    dead: bool,
    /// Its words need not be references.
    raw: bool,
    /// Named words: whether GC_assign stored what is there, and counted it, nobody knows.
    named: bool,
}

type Visit<'a> = &'a mut dyn FnMut(Holder, *mut *mut u8);

/// A name, or "?".
fn named(name: *const c_char) -> *const c_char {
    if name.is_null() {
        c"?".as_ptr()
    } else {
        name
    }
}

impl KnArena {
    /// Calls `visit` with each slot outside a tail that refers into it.
    ///
    /// # Safety
    /// `this` is a living arena; `visit` may write the slot.
    unsafe fn each_escape(this: *mut Self, tail: Tail, visit: Visit<'_>) {
        // SAFETY: the heap's lists hold what is alive.
        unsafe {
            #[cfg(feature = "counted")]
            Self::each_escape_of_cells(this, tail, visit);
            let source = (*this).source;
            each_held(source, HELD_ROOTS, |link| {
                let range = link.cast::<KnRootRange>();
                let holder = (*range).start.cast::<u8>();
                Self::each_word(this, tail, holder, (*range).bytes, (*range).name, false, visit);
            });
            if (*this).flags & KN_ARENA_CHECK_LEAVE != 0 {
                always::each_block(source, &mut |start, bytes, name| {
                    Self::each_word(this, tail, start, bytes, name, true, visit);
                });
            }
        }
    }

    /// Calls `visit` with each word of a piece of memory that is an address in a tail.
    ///
    /// # Safety
    /// As [`KnArena::each_escape`]; the memory can be read.
    unsafe fn each_word(
        this: *mut Self,
        tail: Tail,
        start: *mut u8,
        bytes: usize,
        name: *const c_char,
        raw: bool,
        visit: Visit<'_>,
    ) {
        for n in 0..bytes / size_of::<usize>() {
            let slot = start.cast::<*mut u8>().wrapping_add(n);
            // SAFETY: the caller's word. Read as a number: it need not be a pointer.
            unsafe {
                let address = slot.cast::<usize>().read();
                if address != 0 && tail.spans(this, address) && !tail.spans(this, slot.addr()) {
                    let kind = named(name);
                    visit(Holder { at: start, kind, field: core::ptr::null(), dead: false, raw, named: !raw }, slot);
                }
            }
        }
    }

    /// [`KnArena::each_escape`] for the slots of cells.
    ///
    /// # Safety
    /// As there.
    #[cfg(feature = "counted")]
    unsafe fn each_escape_of_cells(this: *mut Self, tail: Tail, visit: Visit<'_>) {
        use crate::counted::{scoped, KnType};
        // SAFETY: as there.
        unsafe {
            let heap = (*this).source.heap();
            let mut look = |object: *mut u8, kind: *const KnType, dead: bool, slot: *mut *mut u8| {
                let child = slot.read();
                if !child.is_null() && tail.spans(this, child.addr()) {
                    let field = field_name(kind, slot.addr().wrapping_sub(object.addr()));
                    visit(
                        Holder { at: object, kind: named((*kind).name), field, dead, raw: false, named: false },
                        slot,
                    );
                }
            };
            scoped::each_outside(heap, &mut look);
            each((*this).source, |other| {
                let mut cell = (*Self::books(other)).cells;
                while !cell.is_null() {
                    // What is older in the same arena, when a part of it ends.
                    if other != this || !tail.spans(this, cell.addr()) {
                        let kind = scoped::descriptor(heap, cell);
                        scoped::each_named(heap, cell, &mut |slot| look(cell, kind, false, slot));
                        if scoped::is_traced(heap, cell) {
                            Self::call(this, || {
                                scoped::each_traced(heap, cell, &mut |slot| look(cell, kind, false, slot));
                            });
                        }
                    }
                    cell = scoped::next(cell);
                }
            });
        }
    }

    /// What is told of an escape.
    ///
    /// # Safety
    /// As [`KnArena::each_escape`].
    unsafe fn describe(this: *mut Self, tail: Tail, holder: &Holder, slot: *mut *mut u8, action: u32) -> KnEscape {
        // SAFETY: the slot holds an address in the tail.
        unsafe {
            let target = slot.read();
            #[cfg_attr(not(feature = "counted"), allow(unused_mut))]
            let mut escape = KnEscape {
                arena: Self::name(this),
                holder: holder.at.cast(),
                holder_type: holder.kind,
                slot: slot.cast_const().cast::<c_void>(),
                offset: slot.addr().wrapping_sub(holder.at.addr()),
                field: holder.field,
                target: target.cast_const().cast(),
                target_type: c"raw".as_ptr(),
                target_size: 0,
                site: core::ptr::null(),
                action,
                raw: holder.raw || (*Self::books(this)).escapes == 0,
            };
            #[cfg(feature = "counted")]
            {
                use crate::counted::scoped;
                // A header lies behind the segment's own record.
                let whole = tail.spans(this, target.addr().wrapping_sub(8));
                let target = Self::pointer_to(this, target.addr());
                if whole && !target.is_null() && scoped::is_cell(target) {
                    let heap = (*this).source.heap();
                    escape.target_type = named((*scoped::descriptor(heap, target)).name);
                    escape.target_size = scoped::size(heap, target);
                    escape.site = scoped::site(target);
                }
            }
            let _ = tail;
            escape
        }
    }

    /// The pointer to an address in the arena, with its segment's provenance; null if it is in none.
    ///
    /// # Safety
    /// `this` is a living arena.
    #[cfg(feature = "counted")]
    unsafe fn pointer_to(this: *mut Self, address: usize) -> *mut u8 {
        use super::segment::Segment;
        // SAFETY: segments are alive.
        unsafe {
            let mut segment = (*this).segment;
            while !segment.is_null() && !Segment::spans(segment, address) {
                segment = (*segment).older;
            }
            if segment.is_null() {
                return null_mut();
            }
            segment.cast::<u8>().wrapping_add(address - segment.addr())
        }
    }

    /// Tells the program of an escape.
    ///
    /// # Safety
    /// As [`KnArena::each_escape`].
    unsafe fn tell(this: *mut Self, escape: &KnEscape, report: &mut KnLeaveReport) {
        // SAFETY: the hook is the program's, its context too.
        unsafe {
            if report.escapes == 0 {
                report.first = *escape;
            }
            report.escapes += 1;
            if let Some(hook) = (*this).config.on_escape {
                let context = (*this).config.context;
                Self::call(this, || hook(escape, context));
            }
        }
    }

    /// Runs code of the program's while cells are looked at.
    ///
    /// # Safety
    /// As [`KnArena::each_escape`].
    unsafe fn call(this: *mut Self, callback: impl FnOnce()) {
        // SAFETY: the caller's word.
        unsafe {
            Callback::run(&raw mut (*Self::books(this)).callback, || {
                #[cfg(feature = "counted")]
                crate::counted::scoped::call((*this).source.heap(), callback);
                #[cfg(not(feature = "counted"))]
                callback();
            });
        }
    }

    /// Whether references from outside lead into the arena; the report names them.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn has_escapes(this: *mut Self, report: &mut KnLeaveReport) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let books = Self::books(this);
            let asked = (*this).flags & KN_ARENA_CHECK_LEAVE != 0 || Self::has(this, UNSURE);
            if (*books).escapes == 0 && !asked {
                return false;
            }
            let tail = Tail::whole(this);
            let before = report.escapes;
            report.counted += (*books).escapes;
            let mut refused = false;
            Self::each_escape(this, tail, &mut |holder, slot| {
                // The scopes inside end before it, and answer for themselves.
                let inside = Self::has_inside(this, slot.addr()) || Self::is_inner(this, slot.read().addr());
                if !holder.dead && !holder.raw && !inside {
                    refused = true;
                    let escape = Self::describe(this, tail, &holder, slot, KN_ESCAPE_REFUSE);
                    Self::tell(this, &escape, report);
                }
            });
            if !refused {
                report.escapes = before;
            }
            report.counted = 0;
            refused
        }
    }

    /// Whether an address lies in the arena, or in a scope inside it.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn has_inside(this: *mut Self, address: usize) -> bool {
        // SAFETY: scopes are alive.
        unsafe { Self::spans(this, null_mut(), null_mut(), address) || Self::is_inner(this, address) }
    }

    /// Whether an address lies in a scope inside this one.
    ///
    /// # Safety
    /// `this` is a living arena.
    unsafe fn is_inner(this: *mut Self, address: usize) -> bool {
        // SAFETY: scopes are alive.
        unsafe {
            if !Self::has(this, SCOPE) {
                return false;
            }
            let mut inner = innermost((*this).source);
            while !inner.is_null() && inner != this {
                if Self::spans(inner, null_mut(), null_mut(), address) {
                    return true;
                }
                inner = (*inner).outer;
            }
            false
        }
    }

    /// Whether a slot lies in a resident cell: it gets no copy, which would not be resident.
    ///
    /// # Safety
    /// As [`KnArena::each_escape`].
    #[cfg(feature = "counted")]
    unsafe fn is_resident(this: *mut Self, slot: *mut *mut u8) -> bool {
        // SAFETY: the caller's word.
        unsafe { crate::counted::scoped::is_resident_slot((*this).source.heap(), slot) }
    }

    /// Deals with the references from outside into what ends.
    ///
    /// # Safety
    /// As [`KnArena::end_tail`].
    #[inline(never)]
    pub(super) unsafe fn settle_escapes(this: *mut Self, tail: Tail, report: &mut KnLeaveReport, policy: u32) {
        #[cfg(feature = "counted")]
        // SAFETY: the caller's word.
        unsafe {
            crate::counted::scoped::undisturbed((*this).source.heap(), || Self::settle(this, tail, report, policy));
        }
        #[cfg(not(feature = "counted"))]
        // SAFETY: the caller's word.
        unsafe {
            Self::settle(this, tail, report, policy);
        }
    }

    /// # Safety
    /// As [`KnArena::end_tail`].
    unsafe fn settle(this: *mut Self, tail: Tail, report: &mut KnLeaveReport, policy: u32) {
        // SAFETY: the caller's word.
        unsafe {
            let books = Self::books(this);
            #[cfg(feature = "counted")]
            let mut copies = super::promote::Copies::of(this);
            #[cfg(feature = "counted")]
            if policy == KN_ESCAPE_PROMOTE {
                Self::each_escape(this, tail, &mut |holder, slot| {
                    if !holder.dead && !holder.raw && !Self::is_resident(this, slot) {
                        copies.add(this, slot.read());
                    }
                });
                if copies.make() {
                    copies.hang(this);
                }
            }
            let mut found = 0;
            Self::each_escape(this, tail, &mut |holder, slot| {
                if holder.dead {
                    slot.write(null_mut());
                    return;
                }
                // Nobody counted those in the arena, before what ends. One too many makes leaving look, one too few
                // would not.
                let counted = !holder.raw && !holder.named && !Self::has_inside(this, slot.addr());
                found += usize::from(counted);
                let mut action = if holder.raw { KN_ESCAPE_TELL } else { policy };
                if action == KN_ESCAPE_REFUSE {
                    // It could not be refused any more: unwinding, rewinding, resetting.
                    action = KN_ESCAPE_NULL;
                }
                #[cfg(feature = "counted")]
                let value = if action == KN_ESCAPE_PROMOTE && !Self::is_resident(this, slot) {
                    copies.take(slot.read())
                } else {
                    null_mut()
                };
                #[cfg(not(feature = "counted"))]
                let value: *mut u8 = null_mut();
                if action == KN_ESCAPE_PROMOTE && value.is_null() {
                    action = KN_ESCAPE_NULL;
                }
                let mut escape = Self::describe(this, tail, &holder, slot, action);
                if action == KN_ESCAPE_NULL && policy == KN_ESCAPE_TRAP {
                    escape.action = KN_ESCAPE_TRAP;
                }
                if !holder.raw {
                    slot.write(value);
                    if action == KN_ESCAPE_PROMOTE {
                        report.promoted += 1;
                    } else {
                        report.nulled += 1;
                    }
                }
                Self::tell(this, &escape, report);
                if escape.action == KN_ESCAPE_TRAP {
                    Self::call(this, || {
                        port::report(KnStatus::Escape, slot.cast(), c"kn_arena_leave: a reference escapes");
                    });
                    stop();
                }
            });
            #[cfg(feature = "counted")]
            copies.end_of(this);
            (*books).escapes = if tail.whole { 0 } else { (*books).escapes.saturating_sub(found) };
        }
    }
}

/// The name of the field at an offset, if its type tells it.
///
/// # Safety
/// `kind` is a registered type.
#[cfg(feature = "counted")]
unsafe fn field_name(kind: *const crate::counted::KnType, offset: usize) -> *const c_char {
    // SAFETY: registration verified the lists, which have `ref_count` members.
    unsafe {
        if (*kind).ref_names.is_null() {
            return core::ptr::null();
        }
        (0..(*kind).ref_count as usize)
            .find(|&n| (*kind).ref_offsets.wrapping_add(n).read() as usize == offset)
            .map_or(core::ptr::null(), |n| (*kind).ref_names.wrapping_add(n).read())
    }
}

/// Stops the program: the policy KN_ESCAPE_TRAP asks for it, and the error hook came back.
#[cold]
fn stop() -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an instruction that never succeeds.
    unsafe {
        core::arch::asm!("ud2", options(noreturn))
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("udf #0", options(noreturn))
    }
    #[cfg(all(unix, not(any(target_arch = "x86_64", target_arch = "arm"))))]
    // SAFETY: ends the process.
    unsafe {
        libc::abort()
    }
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(any(unix, target_arch = "x86_64", target_arch = "arm", target_arch = "wasm32")))]
    loop {
        core::hint::spin_loop();
    }
}
