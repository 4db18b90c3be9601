//! Instructions of the kernel's virtual machine (eBPF), written down with labels.
//!
//! The gate's programs are some hundred instructions without loops over data, types or relocations,
//! so neither a compiler nor a library is needed at build time, and the text of the program stands
//! in this repository ([`program`](super::program)). Encoding: linux/bpf.h and RFC 9669 (sections
//! 3 to 5): one byte of operation, two registers of four bits, a 16-bit offset, a 32-bit operand.

use std::collections::BTreeMap;

/// A register. 0 is the result of a call, 1 to 5 are arguments and lost by a call, 6 to 9 are kept, 10
/// points to the end of the stack.
pub(super) type Register = u8;

/// Width of a load or store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
    Double = 0x18,
}

/// A comparison of two registers or a register with a number, unsigned.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Equal = 0x10,
    AtLeast = 0x30,
    AnyBit = 0x40,
    NotEqual = 0x50,
    AtMost = 0xb0,
}

#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    destination: Register,
    source: Register,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// In the byte order of this machine, as the kernel wants it.
    fn encode(self) -> u64 {
        let registers = if cfg!(target_endian = "little") {
            self.source << 4 | self.destination
        } else {
            self.destination << 4 | self.source
        };
        let mut bytes = [self.code, registers, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.immediate.to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }
}

/// A program under construction. Labels may be used before they are placed.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    labels: BTreeMap<&'static str, usize>,
    /// Jumps whose offset is not known yet.
    jumps: Vec<(usize, &'static str)>,
}

impl Assembler {
    fn emit(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        self.instructions.push(Instruction { code, destination, source, offset, immediate });
    }

    /// The next instruction is called so.
    pub(super) fn label(&mut self, name: &'static str) {
        let former = self.labels.insert(name, self.instructions.len());
        assert!(former.is_none(), "label {name} stands twice");
    }

    /// `to = number`, sign-extended.
    pub(super) fn set(&mut self, to: Register, number: i32) {
        self.emit(0xb7, to, 0, 0, number);
    }

    /// `to = from`.
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.emit(0xbf, to, from, 0, 0);
    }

    /// `to += number`.
    pub(super) fn add(&mut self, to: Register, number: i32) {
        self.emit(0x07, to, 0, 0, number);
    }

    /// `to += from`.
    pub(super) fn add_register(&mut self, to: Register, from: Register) {
        self.emit(0x0f, to, from, 0, 0);
    }

    /// `to |= bits`.
    pub(super) fn set_bits(&mut self, to: Register, bits: i32) {
        self.emit(0x47, to, 0, 0, bits);
    }

    /// `to = memory[from + offset]`.
    pub(super) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.emit(0x61 | width as u8, to, from, offset, 0);
    }

    /// `memory[to + offset] = from`.
    pub(super) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.emit(0x63 | width as u8, to, from, offset, 0);
    }

    /// `memory[to + offset] = number`.
    pub(super) fn store_number(&mut self, width: Width, to: Register, offset: i16, number: i32) {
        self.emit(0x62 | width as u8, to, 0, offset, number);
    }

    /// `memory[to + offset] += from`, 64 bits, atomically.
    pub(super) fn add_atomically(&mut self, to: Register, offset: i16, from: Register) {
        self.emit(0xdb, to, from, offset, 0);
    }

    /// Goes on at the label.
    pub(super) fn jump(&mut self, label: &'static str) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(0x05, 0, 0, 0, 0);
    }

    /// Goes on at the label when the comparison with a number holds.
    pub(super) fn jump_when(&mut self, one: Register, when: When, to: i32, label: &'static str) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(0x05 | when as u8, one, 0, 0, to);
    }

    /// Goes on at the label when the comparison with a register holds.
    pub(super) fn jump_when_register(
        &mut self,
        one: Register,
        when: When,
        other: Register,
        label: &'static str,
    ) {
        self.jumps.push((self.instructions.len(), label));
        self.emit(0x0d | when as u8, one, other, 0, 0);
    }

    /// Calls a function of the kernel.
    pub(super) fn call(&mut self, function: i32) {
        self.emit(0x85, 0, 0, 0, function);
    }

    /// Ends with register 0 as the verdict.
    pub(super) fn exit(&mut self) {
        self.emit(0x95, 0, 0, 0, 0);
    }

    /// `to` = the map with this descriptor.
    pub(super) fn map(&mut self, to: Register, descriptor: i32) {
        const IS_MAP: u8 = 1;
        self.emit(0x18, to, IS_MAP, 0, descriptor);
        self.emit(0, 0, 0, 0, 0);
    }

    /// The program as the kernel takes it.
    pub(super) fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let target = *self.labels.get(label).unwrap_or_else(|| panic!("no label {label}"));
            let distance = target as i64 - at as i64 - 1;
            self.instructions[at].offset = i16::try_from(distance).expect("a short program");
        }
        self.instructions.into_iter().map(Instruction::encode).collect()
    }
}
