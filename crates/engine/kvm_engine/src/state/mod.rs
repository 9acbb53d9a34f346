//! State between KVM's structures and the engine-neutral form.

pub(crate) mod convert;
pub(crate) mod platform;
pub(crate) mod vcpu;
