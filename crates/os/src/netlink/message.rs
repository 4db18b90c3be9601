//! The format of netlink(7): a header, a body of fixed fields, attributes, each aligned to 4.
//!
//! Built in buffers on the stack and read in place, because the guard must neither allocate nor wait.

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;

/// A message under construction in a buffer of its own: header, body, attributes, each aligned to 4.
pub(crate) struct Message<const N: usize> {
    buffer: [u8; N],
    length: usize,
}

impl<const N: usize> Message<N> {
    pub(crate) fn new(kind: u16, flags: u16, sequence: u32) -> Message<N> {
        let mut message = Message { buffer: [0; N], length: 0 };
        message.put(&0_u32.to_ne_bytes());
        message.put(&kind.to_ne_bytes());
        message.put(&flags.to_ne_bytes());
        message.put(&sequence.to_ne_bytes());
        message.put(&0_u32.to_ne_bytes());
        message
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("a short attribute");
        self.put(&length.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.length = self.length.next_multiple_of(4);
    }

    pub(crate) fn finish(&mut self) {
        let length = u32::try_from(self.length).expect("a short message");
        self.buffer[..4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Gives a finished message its number, by which the answer is known.
    pub(crate) fn number(&mut self, sequence: u32) {
        self.buffer[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// Attributes within an attribute: what `fill` adds is its value.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.length;
        self.put(&[0; 4]);
        fill(self);
        let length = u16::try_from(self.length - start).expect("a short attribute");
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.buffer[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Hands over the messages of one datagram, until `take` returns false.
pub(crate) fn each_message(datagram: &[u8], mut take: impl FnMut(Header, &[u8]) -> bool) {
    let mut rest = datagram;
    while let (Some(length), Some(kind), Some(flags), Some(sequence)) =
        (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6), u32_at(rest, 8))
    {
        let length = length as usize;
        let Some(body) = rest.get(16..length) else { return };
        if !take(Header { kind, flags, sequence }, body) {
            return;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

pub(crate) fn each_attribute<'a>(bytes: &'a [u8], mut take: impl FnMut(u16, &'a [u8])) {
    let mut rest = bytes;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else { return };
        // The upper two bits are flags (nested, byte order).
        take(kind & 0x3fff, value);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

/// The positive error number of an answer, 0 for "done".
pub(crate) fn read_errno(body: &[u8]) -> i32 {
    u32_at(body, 0).map_or(0, |word| -word.cast_signed())
}
