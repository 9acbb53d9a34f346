//! The MSRs of x2APIC mode (SDM vol. 3, 11.12.1.2 and 11.12.1.3).

use super::registers::{FIRST_MSR, REGISTERS, icr, index};
use super::{ApicMode, GeneralProtection, Lapic};
use crate::platform::mailbox::FIRST_VECTOR;

impl Lapic {
    /// RDMSR of 0x800 to 0x8ff.
    pub(crate) fn read_msr(&mut self, msr: u32) -> Result<u64, GeneralProtection> {
        match self.register_of(msr)? {
            index::ID => Ok(self.id.into()),
            index::ICR => Ok(self.icr),
            register => self.read_register(register).map(u64::from).ok_or(GeneralProtection),
        }
    }

    /// WRMSR of 0x800 to 0x8ff.
    pub(crate) fn write_msr(&mut self, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        let register = self.register_of(msr)?;
        if register == index::ICR {
            if value & icr::RESERVED != 0 {
                return Err(GeneralProtection);
            }
            self.write_icr(value);
            return Ok(());
        }
        let value = u32::try_from(value).map_err(|_| GeneralProtection)?;
        match register {
            index::EOI | index::ESR if value != 0 => Err(GeneralProtection),
            index::TPR | index::SELF_IPI if value > 0xff => Err(GeneralProtection),
            index::SELF_IPI => {
                self.send_to_self(value as u8);
                Ok(())
            }
            _ if self.write_register(register, value) => Ok(()),
            _ => Err(GeneralProtection),
        }
    }

    fn register_of(&self, msr: u32) -> Result<usize, GeneralProtection> {
        let register = msr.checked_sub(FIRST_MSR).ok_or(GeneralProtection)? as usize;
        if self.mode() == ApicMode::X2Apic && register < REGISTERS {
            Ok(register)
        } else {
            Err(GeneralProtection)
        }
    }

    /// SELF IPI (SDM vol. 3, 11.12.11).
    fn send_to_self(&mut self, vector: u8) {
        if vector < FIRST_VECTOR {
            self.raise_error(super::esr::SEND_ILLEGAL_VECTOR);
        } else if self.svr & super::svr::ENABLE != 0 {
            self.mailbox.interrupt(vector, false);
        }
    }
}
