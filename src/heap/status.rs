//! What a call can answer, shared by the Rust and the C face.

/// The outcome of a call that can fail for more than one reason.
///
/// [`KnStatus::Ok`] is 0, every failure is negative. The representation is a fixed 32-bit integer because
/// the size of a C enum differs between Arm compilers.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnStatus {
    /// Done.
    Ok = 0,
    /// An argument is out of its range: a null heap, an alignment that is no power of two.
    Invalid = -1,
    /// No free block or region is large enough.
    NoMemory = -2,
    /// The block is free already.
    DoubleFree = -3,
    /// The pointer is not the start of a block of this heap.
    Foreign = -4,
    /// The heap's own records contradict each other: something wrote outside its block.
    Corrupt = -5,
    /// Scopes were left in the wrong order.
    Order = -6,
    /// This build or this region does not offer what was asked.
    Unsupported = -7,
    /// References from outside lead into a scope.
    Escape = -8,
    /// A scope, or one around it, may not hold that much.
    Budget = -9,
    /// Free memory lies in pieces, more than was allowed.
    Fragmented = -10,
    /// Always-active data refers to data that is not.
    Resident = -11,
}

impl KnStatus {
    /// A short name in English, NUL-terminated, that lives for ever.
    pub const fn name(self) -> &'static core::ffi::CStr {
        match self {
            KnStatus::Ok => c"ok",
            KnStatus::Invalid => c"invalid argument",
            KnStatus::NoMemory => c"out of memory",
            KnStatus::DoubleFree => c"double free",
            KnStatus::Foreign => c"not a block of this heap",
            KnStatus::Corrupt => c"heap corrupted",
            KnStatus::Order => c"wrong order",
            KnStatus::Unsupported => c"not supported",
            KnStatus::Escape => c"references escape",
            KnStatus::Budget => c"over budget",
            KnStatus::Fragmented => c"memory is fragmented",
            KnStatus::Resident => c"resident data refers to other data",
        }
    }
}
