//! Numbers, texts and lists of a line.

use std::io::Write;
use tapeline_core::event::payload::text_into;
use tapeline_core::event::{EventRef, Flags};
use tapeline_core::limits::SPAN_BYTES_MAX;
use tapeline_core::units::{PRICE_UNDEFINED, Side};

/// Decimal exponent of prices.
const PRICE_SCALE: u8 = 9;

/// The line under construction.
pub(super) struct Line<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl Line<'_> {
    pub(super) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// `,"name":`
    pub(super) fn key(&mut self, name: &str) {
        self.raw(",\"");
        self.raw(name);
        self.raw("\":");
    }

    pub(super) fn value(&mut self, value: impl std::fmt::Display) {
        write!(self.out, "{value}").expect("writing to memory does not fail");
    }

    pub(super) fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        self.key(name);
        self.value(value);
    }

    pub(super) fn optional(&mut self, value: Option<u64>) {
        match value {
            Some(value) => self.value(value),
            None => self.raw("null"),
        }
    }

    /// A text that needs no escape.
    pub(super) fn quoted(&mut self, text: &str) {
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
    }

    pub(super) fn side(&mut self, side: u8) {
        self.key("side");
        match side {
            0..=2 => self.quoted(Side::from_u8(side).name()),
            other => self.value(other),
        }
    }

    /// A byte that stands for a character.
    pub(super) fn byte(&mut self, name: &str, byte: u8) {
        self.key(name);
        match byte {
            0 => self.raw("null"),
            byte if byte.is_ascii_graphic() || byte == b' ' => self.text(&[byte]),
            other => self.value(other),
        }
    }

    pub(super) fn price(&mut self, name: &str, price: i64) {
        self.key(name);
        self.price_value(price);
    }

    pub(super) fn price_value(&mut self, price: i64) {
        if price == PRICE_UNDEFINED {
            self.raw("null");
        } else {
            self.decimal(price < 0, price.unsigned_abs(), PRICE_SCALE);
        }
    }

    pub(super) fn size(&mut self, name: &str, mantissa: u64, scale: u8) {
        self.key(name);
        self.decimal(false, mantissa, scale);
    }

    pub(super) fn optional_size(&mut self, mantissa: Option<u64>, scale: u8) {
        match mantissa {
            Some(mantissa) => self.decimal(false, mantissa, scale),
            None => self.raw("null"),
        }
    }

    /// `mantissa * 10^-scale` in full, as a string, without superfluous zeros.
    pub(super) fn decimal(&mut self, negative: bool, mantissa: u64, scale: u8) {
        let (mut mantissa, mut scale) = (mantissa, usize::from(scale));
        while scale > 0 && mantissa.is_multiple_of(10) {
            if mantissa == 0 {
                scale = 0;
            } else {
                mantissa /= 10;
                scale -= 1;
            }
        }
        // u64::MAX has 20 digits.
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while mantissa > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (mantissa % 10) as u8;
            mantissa /= 10;
        }
        let digits = &digits[first..];
        self.raw(if negative { "\"-" } else { "\"" });
        let whole = digits.len().saturating_sub(scale);
        self.out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
        if scale > 0 {
            self.raw(".");
            self.out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
            self.out.extend_from_slice(&digits[whole..]);
        }
        self.raw("\"");
    }

    pub(super) fn float(&mut self, name: &str, value: f64) {
        self.key(name);
        self.float_value(value);
    }

    pub(super) fn float_value(&mut self, value: f64) {
        if value.is_finite() {
            // Debug is the shortest text that reads back the same, with an exponent for the very large and small.
            write!(self.out, "{value:?}").expect("writing to memory does not fail");
        } else {
            self.raw("null");
        }
    }

    pub(super) fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in bytes {
            self.out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }

    pub(super) fn flags(&mut self, flags: Flags) {
        const UNNAMED: [(Flags, &str); 1] = [(Flags(1 << 7), "bit7")];
        let unnamed = UNNAMED.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name);
        self.key("flags");
        self.list(flags.names().chain(unnamed), Self::quoted);
    }

    pub(super) fn list<T>(&mut self, values: impl Iterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.raw("[");
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.raw(",");
            }
            write(self, value);
        }
        self.raw("]");
    }

    /// The first `text_bytes` bytes of the continuations, as far as there are as many.
    pub(super) fn tail_text(&mut self, event: EventRef<'_>, text_bytes: u32) {
        self.key("text");
        let mut buffer = [0; SPAN_BYTES_MAX];
        let len = text_into(event, text_bytes as usize, &mut buffer);
        self.text(&buffer[..len]);
    }

    /// A JSON string of that text.
    pub(super) fn text(&mut self, bytes: &[u8]) {
        self.raw("\"");
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.raw("\u{fffd}");
            }
        }
        self.raw("\"");
    }

    pub(super) fn escaped(&mut self, utf8: &[u8]) {
        for &byte in utf8 {
            match byte {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                0..=0x1f => {
                    self.raw("\\u00");
                    self.hex(&[byte]);
                }
                _ => self.out.push(byte),
            }
        }
    }

    /// A code by its name, or as a number when it has none.
    pub(super) fn code(&mut self, name: &str, number: u8, word: Option<&str>) {
        self.key(name);
        match word {
            Some(word) => self.quoted(word),
            None => self.value(number),
        }
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, name: &str, byte: u8) {
        self.key(name);
        match byte {
            0 => self.raw("false"),
            1 => self.raw("true"),
            other => self.value(other),
        }
    }

    /// 16 hex digits, the highest first.
    pub(super) fn hash(&mut self, name: &str, value: u64) {
        self.key(name);
        self.raw("\"");
        self.hex(&value.to_be_bytes());
        self.raw("\"");
    }
}
