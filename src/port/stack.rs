//! Where the stack ends now.
//!
//! - [`stack_pointer`] is the lowest address that the calling function uses, or near it; 0: not known.
//! - An address, never a pointer: it is compared, not followed.
//!
//! Cost: one instruction.

/// Defines [`stack_pointer`] by the one instruction that moves the register to `{0}`.
macro_rules! stack_pointer {
    ($($architecture:literal),+ => $instruction:literal) => {
        /// The stack pointer's value in the calling function.
        #[cfg(all(not(miri), any($(target_arch = $architecture),+)))]
        #[inline(always)]
        pub(crate) fn stack_pointer() -> usize {
            let address: usize;
            // SAFETY: one register is read.
            unsafe { core::arch::asm!($instruction, out(reg) address, options(nomem, nostack, preserves_flags)) };
            address
        }
    };
}

stack_pointer!("x86_64" => "mov {0}, rsp");
stack_pointer!("x86" => "mov {0}, esp");
stack_pointer!("arm", "aarch64" => "mov {0}, sp");
stack_pointer!("riscv32", "riscv64" => "mv {0}, sp");

/// The address of a local variable, where no instruction reads the register; 0 under Miri, where
/// addresses have no order.
#[cfg(any(
    miri,
    not(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "riscv32",
        target_arch = "riscv64"
    ))
))]
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let here = 0usize;
    if cfg!(miri) {
        0
    } else {
        core::hint::black_box(&raw const here).addr()
    }
}

#[cfg(test)]
mod tests {
    use super::stack_pointer;

    #[inline(never)]
    fn below(local: usize) -> usize {
        let here = stack_pointer();
        assert!(cfg!(miri) && here == 0 || here < local && local - here < 4096);
        here
    }

    #[test]
    fn the_stack_grows_down_from_here() {
        let local = [0usize; 8];
        let address = core::hint::black_box(&local).as_ptr().addr();
        let called = below(address);
        assert!(cfg!(miri) || called <= stack_pointer());
    }
}
