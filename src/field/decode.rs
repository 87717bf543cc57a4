//! Raw words or payload → value. Pure.

use crate::reading::Value;

/// The type of a point as its registers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// 16 flags of one register; the value is the text of the set bits (`0,3`), or their names by `map`.
    Bits,
    /// ASCII, two characters a register, over so many registers.
    Text(u16),
}

impl Type {
    /// How many registers it takes.
    pub fn registers(self) -> u16 {
        match self {
            Type::Bool | Type::U16 | Type::I16 | Type::Bits => 1,
            Type::U32 | Type::I32 | Type::F32 => 2,
            Type::U64 | Type::I64 | Type::F64 => 4,
            Type::Text(n) => n,
        }
    }
}

/// In which order a value's bytes arrive; A is the most significant one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As sent: big-endian.
    #[default]
    Abcd,
    /// Words reversed.
    Cdab,
    /// Bytes reversed in each word.
    Badc,
    /// All reversed.
    Dcba,
}

/// What is done to a raw value to make it the one that people know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transform {
    pub scale: Option<f64>,
    pub offset: f64,
    /// Raw word → text: `[("true", "closed"), ("false", "open")]`. A value not named here is unreadable.
    /// Empty: no map.
    pub map: Vec<(String, String)>,
}

impl Transform {
    /// `None`: no value can be made of it.
    pub fn apply(&self, raw: Value) -> Option<Value> {
        if !self.map.is_empty() {
            let word = raw.to_string();
            return self
                .map
                .iter()
                .find(|(from, _)| *from == word)
                .map(|(_, to)| Value::Text(to.as_str().into()));
        }
        if self.scale.is_none() && self.offset == 0.0 {
            return Some(raw);
        }
        Some(Value::Number(
            raw.number()? * self.scale.unwrap_or(1.0) + self.offset,
        ))
    }
}
