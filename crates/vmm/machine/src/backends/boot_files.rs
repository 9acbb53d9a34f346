//! The files that a machine starts with.

use boot_loader::{Initrd, Kernel, LoadError, Module};
use vm_spec::{BootSpec, ModuleSpec};

/// A kernel and what goes with it, open. Nobody writes to them.
pub(crate) struct BootFiles {
    pub(crate) kernel: Kernel,
    pub(crate) initrds: Vec<Initrd>,
    pub(crate) modules: Vec<Module>,
}

impl BootFiles {
    pub(crate) fn open(BootSpec::Kernel(boot): &BootSpec) -> Result<BootFiles, LoadError> {
        let kernel = Kernel::open(&boot.path)?;
        let initrds = boot.initrds.iter().map(|path| Initrd::open(path)).collect::<Result<_, _>>()?;
        let module = |module: &ModuleSpec| Module::open(&module.path, &module.cmdline);
        let modules = boot.modules.iter().map(module).collect::<Result<_, _>>()?;
        Ok(BootFiles { kernel, initrds, modules })
    }
}
