//! Reads what HD-BET's authors published: a state dict as PyTorch wrote it until version 1.5.
//!
//! Such a file is five pickles, and the values of the tensors after them: a magic number, a version,
//! what the machine was like, the tensors' names and shapes, and the order of the values. A pickle
//! is a program that builds objects, and in Python it can call any function. Here it can build
//! lists, numbers, texts and tensors, and the names of three functions stand for what they would
//! build; everything else is refused.

use super::weights::Values;
use std::collections::{BTreeMap, HashMap};

/// The first pickle of the format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The second.
const VERSION: i64 = 1001;

/// Why a file is no state dict of this format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("not a file of weights as HD-BET's authors published them (0.model to 4.model)")]
    Format,
    #[error("the file of weights is cut short")]
    Truncated,
    #[error("the file of weights asks for {0}, which no published one does")]
    Unsupported(String),
}

/// Reads the tensors of a file.
///
/// # Errors
/// See [`CheckpointError`].
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Values>, CheckpointError> {
    let mut reader = Reader { bytes };
    match unpickle(&mut reader) {
        Ok(Object::Magic) => {}
        _ => return Err(CheckpointError::Format),
    }
    match unpickle(&mut reader)? {
        Object::Number(VERSION) => {}
        _ => return Err(CheckpointError::Format),
    }
    // Sizes of types; the values are little-endian in every file that was ever published.
    unpickle(&mut reader)?;
    let Object::Tensors(tensors) = unpickle(&mut reader)? else {
        return Err(unsupported("something else than a state dict"));
    };
    let Object::List(order) = unpickle(&mut reader)? else {
        return Err(unsupported("another order of its values than a list"));
    };
    let mut storages = HashMap::new();
    for key in order {
        let Object::Text(key) = key else {
            return Err(unsupported("a storage without a name"));
        };
        storages.insert(key, reader.storage()?);
    }
    let mut found = BTreeMap::new();
    for (name, tensor) in tensors {
        let values = tensor.values(&storages)?;
        let shape = tensor.shape;
        found.insert(name, Values { shape, values });
    }
    Ok(found)
}

fn unsupported(what: &str) -> CheckpointError {
    CheckpointError::Unsupported(what.into())
}

/// The rest of the file.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CheckpointError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(CheckpointError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(CheckpointError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, CheckpointError> {
        Ok(self.array::<1>()?[0])
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Result<&'a str, CheckpointError> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or(CheckpointError::Truncated)?)?;
        self.byte()?;
        text(line)
    }

    /// The values of one storage: their number, and 32 bits each.
    fn storage(&mut self) -> Result<Vec<f32>, CheckpointError> {
        let count = u64::from_le_bytes(self.array()?);
        let length = usize::try_from(count).ok().and_then(|n| n.checked_mul(4));
        let bytes = self.take(length.ok_or(CheckpointError::Truncated)?)?;
        let mut values = Vec::with_capacity(bytes.len() / 4);
        for value in bytes.as_chunks::<4>().0 {
            values.push(f32::from_le_bytes(*value));
        }
        Ok(values)
    }
}

fn text(bytes: &[u8]) -> Result<&str, CheckpointError> {
    std::str::from_utf8(bytes).map_err(|_| unsupported("a text that is not UTF-8"))
}

/// A tensor, before the values are there.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    storage: String,
    offset: usize,
    shape: Vec<usize>,
}

impl Tensor {
    fn values(&self, storages: &HashMap<String, Vec<f32>>) -> Result<Vec<f32>, CheckpointError> {
        let mut count: usize = 1;
        for &side in &self.shape {
            count = count.checked_mul(side).ok_or(CheckpointError::Truncated)?;
        }
        let end = self.offset.checked_add(count);
        let values = storages
            .get(&self.storage)
            .zip(end)
            .and_then(|(values, end)| values.get(self.offset..end));
        Ok(values.ok_or(CheckpointError::Truncated)?.to_vec())
    }
}

/// What a pickle builds.
#[derive(Clone, Debug, PartialEq)]
enum Object {
    /// Where a list or tuple begins, on the stack only.
    Mark,
    Nothing,
    /// The number that begins every file.
    Magic,
    Number(i64),
    Text(String),
    /// A list or a tuple.
    List(Vec<Object>),
    /// Pairs of which nothing is needed.
    Dictionary,
    /// A function or class, by its module and name.
    Function(&'static str),
    /// The name of a storage of 32-bit floats.
    Storage(String),
    Tensor(Tensor),
    Tensors(BTreeMap<String, Tensor>),
}

const DICTIONARY: &str = "collections OrderedDict";
const TENSOR: &str = "torch._utils _rebuild_tensor";
const FLOATS: &str = "torch FloatStorage";

/// Runs the next pickle.
fn unpickle(reader: &mut Reader<'_>) -> Result<Object, CheckpointError> {
    let mut machine = Machine::default();
    loop {
        let code = reader.byte()?;
        if code == b'.' {
            return machine.pop();
        }
        machine.step(code, reader)?;
    }
}

/// What a pickle works on.
#[derive(Default)]
struct Machine {
    stack: Vec<Object>,
    /// Texts and functions that are named again later. Nothing else is, in the published files.
    memory: HashMap<u32, Object>,
}

impl Machine {
    /// One instruction. The names are those of Python's `pickletools`.
    fn step(&mut self, code: u8, reader: &mut Reader<'_>) -> Result<(), CheckpointError> {
        let built = match code {
            // PROTO
            0x80 => {
                reader.byte()?;
                return Ok(());
            }
            // BINPUT, LONG_BINPUT
            b'q' => return self.remember(u32::from(reader.byte()?)),
            b'r' => return self.remember(u32::from_le_bytes(reader.array()?)),
            // APPENDS, SETITEMS
            b'e' => return self.append(),
            b'u' => {
                self.after_mark()?;
                return Ok(());
            }
            // BINGET, LONG_BINGET
            b'h' => self.recall(u32::from(reader.byte()?))?,
            b'j' => self.recall(u32::from_le_bytes(reader.array()?))?,
            b'(' => Object::Mark,
            // NONE, NEWTRUE, NEWFALSE
            b'N' | 0x88 | 0x89 => Object::Nothing,
            // BININT1, BININT2, BININT
            b'K' => Object::Number(i64::from(reader.byte()?)),
            b'M' => Object::Number(i64::from(u16::from_le_bytes(reader.array()?))),
            b'J' => Object::Number(i64::from(i32::from_le_bytes(reader.array()?))),
            // LONG1
            0x8a => {
                let length = reader.byte()?;
                long(reader.take(usize::from(length))?)?
            }
            // SHORT_BINSTRING
            b'U' => {
                let length = reader.byte()?;
                Object::Text(text(reader.take(usize::from(length))?)?.into())
            }
            b']' => Object::List(Vec::new()),
            b'}' => Object::Dictionary,
            // TUPLE, TUPLE1
            b't' => Object::List(self.after_mark()?),
            0x85 => Object::List(vec![self.pop()?]),
            // GLOBAL
            b'c' => {
                let name = format!("{} {}", reader.line()?, reader.line()?);
                function(&name)?
            }
            // BINPERSID
            b'Q' => storage(self.pop()?)?,
            // REDUCE
            b'R' => {
                let arguments = self.pop()?;
                call(self.pop()?, arguments)?
            }
            other => return Err(unsupported(&format!("the instruction {other:#04x}"))),
        };
        self.stack.push(built);
        Ok(())
    }

    fn pop(&mut self) -> Result<Object, CheckpointError> {
        let missing = || unsupported("an object that is not there");
        self.stack.pop().ok_or_else(missing)
    }

    /// Takes what is on the stack above the last mark, and the mark.
    fn after_mark(&mut self) -> Result<Vec<Object>, CheckpointError> {
        let mark = self
            .stack
            .iter()
            .rposition(|object| *object == Object::Mark)
            .ok_or_else(|| unsupported("an object that is not there"))?;
        let objects = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(objects)
    }

    fn append(&mut self) -> Result<(), CheckpointError> {
        let more = self.after_mark()?;
        let Some(Object::List(list)) = self.stack.last_mut() else {
            return Err(unsupported("an addition to something else than a list"));
        };
        list.extend(more);
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), CheckpointError> {
        if let Some(object @ (Object::Text(_) | Object::Function(_))) = self.stack.last() {
            self.memory.insert(place, object.clone());
        }
        Ok(())
    }

    fn recall(&self, place: u32) -> Result<Object, CheckpointError> {
        let missing = || unsupported("an object that is not remembered");
        self.memory.get(&place).cloned().ok_or_else(missing)
    }
}

/// A whole number of up to 255 bytes.
fn long(bytes: &[u8]) -> Result<Object, CheckpointError> {
    if bytes == MAGIC {
        return Ok(Object::Magic);
    }
    if bytes.len() > 8 {
        return Err(unsupported("a number of more than 64 bits"));
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut number = [if negative { 0xff } else { 0 }; 8];
    number[..bytes.len()].copy_from_slice(bytes);
    Ok(Object::Number(i64::from_le_bytes(number)))
}

fn function(name: &str) -> Result<Object, CheckpointError> {
    for known in [DICTIONARY, TENSOR, FLOATS] {
        if name == known {
            return Ok(Object::Function(known));
        }
    }
    Err(unsupported(&format!("the function {name}")))
}

/// `("storage", type, name, device, number of values, view)`.
fn storage(id: Object) -> Result<Object, CheckpointError> {
    if let Object::List(parts) = id
        && let [
            Object::Text(kind),
            Object::Function(FLOATS),
            Object::Text(name),
            _,
            _,
            Object::Nothing,
        ] = &parts[..]
        && kind == "storage"
    {
        return Ok(Object::Storage(name.clone()));
    }
    Err(unsupported("values that are not 32-bit floats"))
}

fn call(function: Object, arguments: Object) -> Result<Object, CheckpointError> {
    let Object::List(arguments) = arguments else {
        return Err(unsupported("a call without arguments"));
    };
    match function {
        Object::Function(TENSOR) => tensor(&arguments),
        Object::Function(DICTIONARY) => dictionary(arguments),
        _ => Err(unsupported("a call of something else than a function")),
    }
}

/// `(storage, offset, shape, strides)`.
fn tensor(arguments: &[Object]) -> Result<Object, CheckpointError> {
    let [
        Object::Storage(storage),
        Object::Number(offset),
        Object::List(shape),
        Object::List(strides),
    ] = arguments
    else {
        return Err(unsupported("a tensor of another kind"));
    };
    let shape = numbers(shape)?;
    let mut dense = 1;
    for (side, stride) in shape.iter().zip(numbers(strides)?).rev() {
        if stride != dense {
            return Err(unsupported("a tensor with gaps"));
        }
        dense = dense.saturating_mul(*side);
    }
    Ok(Object::Tensor(Tensor {
        storage: storage.clone(),
        offset: number(*offset)?,
        shape,
    }))
}

fn number(number: i64) -> Result<usize, CheckpointError> {
    usize::try_from(number).map_err(|_| unsupported("a negative size"))
}

fn numbers(objects: &[Object]) -> Result<Vec<usize>, CheckpointError> {
    let mut found = Vec::new();
    for object in objects {
        let Object::Number(side) = object else {
            return Err(unsupported("a size that is no number"));
        };
        found.push(number(*side)?);
    }
    Ok(found)
}

/// `[[name, tensor], ..]`.
fn dictionary(mut arguments: Vec<Object>) -> Result<Object, CheckpointError> {
    let wrong = || unsupported("something else than names and tensors");
    let Some(Object::List(pairs)) = arguments.pop() else {
        return Err(wrong());
    };
    let mut tensors = BTreeMap::new();
    for pair in pairs {
        let Object::List(mut pair) = pair else {
            return Err(wrong());
        };
        let (Some(Object::Tensor(tensor)), Some(Object::Text(name)), None) =
            (pair.pop(), pair.pop(), pair.pop())
        else {
            return Err(wrong());
        };
        tensors.insert(name, tensor);
    }
    Ok(Object::Tensors(tensors))
}
