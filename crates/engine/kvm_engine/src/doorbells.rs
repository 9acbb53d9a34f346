//! ioeventfd: a guest's store becomes an event inside the kernel (API 4.59).

use std::io;
use std::sync::Arc;

use device_model::{Doorbells, EventFd};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};

pub(crate) struct KvmDoorbells {
    pub(crate) vm: Arc<VmFd>,
    /// Whether stores of any length match, which needs a capability of its own.
    pub(crate) available: bool,
}

impl Doorbells for KvmDoorbells {
    fn attach(&self, address: u64, event: &EventFd) -> io::Result<bool> {
        if self.available {
            self.vm.register_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch).map_err(io_error)?;
        }
        Ok(self.available)
    }

    fn detach(&self, address: u64, event: &EventFd) -> io::Result<()> {
        if self.available {
            self.vm
                .unregister_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)
                .map_err(io_error)?;
        }
        Ok(())
    }
}

fn io_error(error: kvm_ioctls::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}
