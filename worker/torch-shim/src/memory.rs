//! What tensors take of the machine's memory.

use crate::sys;

/// Bytes that tensors of this process hold on the CPU, of those that came after [`count`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// At this moment.
    pub now: u64,
    /// At most, since [`count`] was last called.
    pub most: u64,
}

/// Counts the bytes of every tensor that is made on the CPU from now on, for good. Called again, it forgets the most that
/// was held before.
pub fn count() {
    // SAFETY: the allocator that counts lives as long as the process, and hands over to libtorch's own.
    unsafe { sys::fulcrum_memory_count() }
}

/// What was counted; nothing before [`count`].
pub fn held() -> Held {
    let (mut now, mut most) = (0, 0);
    // SAFETY: both pointers outlive the call.
    unsafe { sys::fulcrum_memory_counted(&mut now, &mut most) }
    Held { now: now.max(0).unsigned_abs(), most: most.max(0).unsigned_abs() }
}

/// Hands freed memory back to the system. The C library keeps what lies between memory that is still in use, which is
/// much after a model has moved.
pub fn trim() {
    // SAFETY: it takes no arguments, and touches nothing but free memory.
    unsafe { sys::fulcrum_memory_trim() }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn tensors_are_counted_for_as_long_as_they_live() {
        const BYTES: u64 = 64 << 20;
        let old = Tensor::zeros([1 << 20], (Kind::Float, Device::Cpu));
        count();
        let before = held().now;
        let tensor = Tensor::zeros([16 << 20], (Kind::Float, Device::Cpu));
        // Other tests make tensors meanwhile, all of them small.
        let near = |found: u64, expected: u64| found.abs_diff(expected) < BYTES / 8;
        assert!(near(held().now, before + BYTES), "{:?}", held());
        let view = tensor.narrow(0, 0, 1);
        drop((tensor, old));
        assert!(near(held().now, before + BYTES), "a view keeps the whole");
        drop(view);
        assert!(near(held().now, before), "{:?}", held());
        assert!(near(held().most, before + BYTES), "{:?}", held());
        count();
        assert!(near(held().most, before), "{:?}", held());
        trim();
    }
}
