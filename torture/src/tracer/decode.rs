//! Which memory an instruction writes.

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::{ensure, Result};
use iced_x86::{Code, InstructionInfoFactory, Mnemonic, OpAccess, Register};

/// What matters of one instruction.
#[derive(Default)]
pub struct Instruction {
    pub syscall: bool,
    /// Memory it may write, but for its stack and its program's own variables.
    pub writes: Vec<Write>,
}

/// A memory operand that is written.
pub struct Write {
    base: Register,
    index: Register,
    scale: u64,
    displacement: u64,
    len: u64,
}

impl Write {
    /// Address and length, from the registers before the instruction.
    pub fn range(&self, registers: &libc::user_regs_struct) -> (u64, u64) {
        let index = value(registers, self.index).wrapping_mul(self.scale);
        let at = value(registers, self.base).wrapping_add(index).wrapping_add(self.displacement);
        (at, self.len)
    }
}

fn value(r: &libc::user_regs_struct, register: Register) -> u64 {
    match register.full_register() {
        Register::RAX => r.rax,
        Register::RBX => r.rbx,
        Register::RCX => r.rcx,
        Register::RDX => r.rdx,
        Register::RSI => r.rsi,
        Register::RDI => r.rdi,
        Register::RBP => r.rbp,
        Register::RSP => r.rsp,
        Register::R8 => r.r8,
        Register::R9 => r.r9,
        Register::R10 => r.r10,
        Register::R11 => r.r11,
        Register::R12 => r.r12,
        Register::R13 => r.r13,
        Register::R14 => r.r14,
        Register::R15 => r.r15,
        _ => 0,
    }
}

/// Decodes each address once: no code changes while it runs.
pub struct Decoder {
    known: HashMap<u64, Rc<Instruction>>,
    factory: InstructionInfoFactory,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { known: HashMap::new(), factory: InstructionInfoFactory::new() }
    }
}

impl Decoder {
    /// The instruction at an address; `read` fetches up to 15 bytes from there.
    pub fn at(
        &mut self,
        rip: u64,
        read: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<Rc<Instruction>> {
        if let Some(known) = self.known.get(&rip) {
            return Ok(known.clone());
        }
        let mut bytes = [0; 15];
        let len = read(&mut bytes)?;
        let decoded = Rc::new(self.decode(rip, &bytes[..len])?);
        self.known.insert(rip, decoded.clone());
        Ok(decoded)
    }

    fn decode(&mut self, rip: u64, bytes: &[u8]) -> Result<Instruction> {
        let instruction = iced_x86::Decoder::with_ip(64, bytes, rip, 0).decode();
        ensure!(!instruction.is_invalid(), "an instruction nobody knows at {rip:#x}: {bytes:x?}");
        if instruction.code() == Code::Syscall {
            return Ok(Instruction { syscall: true, writes: Vec::new() });
        }
        // A step of these is one element, with or without a repetition.
        let string = match instruction.mnemonic() {
            Mnemonic::Movsb | Mnemonic::Stosb => 1,
            Mnemonic::Movsw | Mnemonic::Stosw => 2,
            Mnemonic::Stosd => 4,
            Mnemonic::Movsq | Mnemonic::Stosq => 8,
            _ => 0,
        };
        if string != 0 {
            let (base, index) = (Register::RDI, Register::None);
            let write = Write { base, index, scale: 0, displacement: 0, len: string };
            return Ok(Instruction { syscall: false, writes: vec![write] });
        }
        let mut writes = Vec::new();
        for used in self.factory.info(&instruction).used_memory() {
            let writing = matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            );
            let own = matches!(used.base(), Register::RSP | Register::RIP)
                || matches!(used.segment(), Register::FS | Register::GS);
            if !writing || own {
                continue;
            }
            writes.push(Write {
                base: used.base(),
                index: used.index(),
                scale: u64::from(used.scale()),
                displacement: used.displacement(),
                len: (used.memory_size().size() as u64).max(1),
            });
        }
        Ok(Instruction { syscall: false, writes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Vec<(u64, u64)> {
        // SAFETY: plain integers.
        let mut r: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        (r.rax, r.rcx, r.rdi, r.rsp) = (0x1000, 0x20, 0x5000, 0x9000);
        let copy = |out: &mut [u8]| {
            out[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        };
        let instruction = Decoder::default().at(0x40_0000, copy).expect("decoded");
        instruction.writes.iter().map(|w| w.range(&r)).collect()
    }

    #[test]
    fn writes_are_found() {
        assert_eq!(written(&[0x48, 0x89, 0x44, 0x88, 0x10]), [(0x1000 + 4 * 0x20 + 0x10, 8)]); // mov [rax+rcx*4+16], rax
        assert_eq!(written(&[0xf0, 0x48, 0x0f, 0xb1, 0x08]), [(0x1000, 8)]); // lock cmpxchg [rax], rcx
        assert_eq!(written(&[0xf3, 0xa4]), [(0x5000, 1)]); // rep movsb
        assert_eq!(written(&[0xf3, 0x48, 0xab]), [(0x5000, 8)]); // rep stosq
        assert_eq!(written(&[0xc5, 0xfe, 0x7f, 0x07]), [(0x5000, 32)]); // vmovdqu [rdi], ymm0
        assert_eq!(written(&[0x48, 0x8b, 0x00]), []); // mov rax, [rax]
        assert_eq!(written(&[0x50]), []); // push rax
    }
}
