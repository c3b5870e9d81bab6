//! Writes objects as Java's own `ObjectOutputStream` does: a class, a type and a shared object the second
//! time as a reference to the first.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ENUM, FIRST_HANDLE, MAGIC, SERIALIZABLE, WRITE_METHOD, tag, utf8};
use crate::tables::Table;

/// An object to be written: its class, and its fields by name. A field that is not named has Java's default:
/// `null` or 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) class: &'static str,
    pub(crate) fields: Vec<(&'static str, Slot)>,
    /// The class and its super classes are described without fields: what a reader has in their place are
    /// its own objects.
    pub(crate) is_bare: bool,
}

impl Object {
    pub(crate) fn new(class: &'static str, fields: Vec<(&'static str, Slot)>) -> Self {
        Self { class, fields, is_bare: false }
    }

    pub(crate) fn bare(class: &'static str) -> Self {
        Self { class, fields: Vec::new(), is_bare: true }
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Slot {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Text(String),
    Object(Box<Object>),
    /// The same object wherever it stands in a stream, known by its class and this text.
    Shared(&'static str, Box<Object>),
    /// An object of `java.lang.Class`.
    Class(&'static str),
    /// A constant of an `enum`.
    Constant(&'static str, &'static str),
}

impl Slot {
    pub(crate) fn object(class: &'static str, fields: Vec<(&'static str, Slot)>) -> Self {
        Self::Object(Box::new(Object::new(class, fields)))
    }
}

/// What has a handle.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Known {
    Class(String),
    Type(Arc<str>),
    Shared(&'static str),
}

#[derive(Debug)]
pub(crate) struct Writer<'a> {
    table: &'a Table,
    bytes: Vec<u8>,
    handles: HashMap<Known, i32>,
    next: i32,
}

impl<'a> Writer<'a> {
    /// A stream of one object.
    pub(crate) fn write(table: &'a Table, object: &Object) -> Vec<u8> {
        let (bytes, handles) = (MAGIC.to_vec(), HashMap::new());
        let mut writer = Writer { table, bytes, handles, next: FIRST_HANDLE };
        writer.object(object);
        writer.bytes
    }

    fn handle(&mut self) -> i32 {
        let handle = self.next;
        self.next += 1;
        handle
    }

    /// Writes a reference, if it was written before.
    fn refers(&mut self, known: &Known) -> bool {
        let Some(handle) = self.handles.get(known) else { return false };
        self.bytes.push(tag::REFERENCE);
        self.bytes.extend(handle.to_be_bytes());
        true
    }

    fn text(&mut self, text: &str) {
        let encoded = utf8::encode(text);
        match u16::try_from(encoded.len()) {
            Ok(length) => {
                self.bytes.push(tag::STRING);
                self.bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                self.bytes.push(tag::LONG_STRING);
                self.bytes.extend((encoded.len() as i64).to_be_bytes());
            }
        }
        self.bytes.extend(encoded);
        self.handle();
    }

    /// A name of a class or a field, which is short.
    fn name(&mut self, name: &str) {
        let encoded = utf8::encode(name);
        self.bytes.extend((encoded.len() as u16).to_be_bytes());
        self.bytes.extend(encoded);
    }

    fn class(&mut self, name: &str, is_bare: bool) {
        let known = Known::Class(name.to_owned());
        if self.refers(&known) {
            return;
        }
        let class = self.table.class(name);
        self.bytes.push(tag::CLASS_DESC);
        self.name(name);
        self.bytes.extend(class.serial_version.to_be_bytes());
        let handle = self.handle();
        self.handles.insert(known, handle);
        let fields = if is_bare { &[][..] } else { &class.fields };
        self.bytes.push(class.flags);
        self.bytes.extend((fields.len() as u16).to_be_bytes());
        for field in fields {
            self.bytes.push(field.type_name.as_bytes()[0]);
            self.name(&field.name);
            if field.type_name.starts_with(['L', '[']) {
                let known = Known::Type(Arc::clone(&field.type_name));
                if !self.refers(&known) {
                    self.handles.insert(known, self.next);
                    self.text(&field.type_name);
                }
            }
        }
        self.bytes.push(tag::END_BLOCK_DATA);
        match &class.super_class {
            Some(super_class) => self.class(super_class, is_bare),
            None => self.bytes.push(tag::NULL),
        }
    }

    fn object(&mut self, object: &Object) {
        self.bytes.push(tag::OBJECT);
        self.class(object.class, object.is_bare);
        self.handle();
        self.fields(object);
    }

    fn fields(&mut self, object: &Object) {
        let table = self.table;
        let mut chain = vec![table.class(object.class)];
        while let Some(super_class) = &chain[chain.len() - 1].super_class {
            chain.push(table.class(super_class));
        }
        for class in chain.into_iter().rev() {
            if class.flags & (SERIALIZABLE | ENUM) == 0 {
                continue;
            }
            let fields = if object.is_bare { &[][..] } else { &class.fields };
            for field in fields {
                let plain = field.name.rsplit("$$").next().unwrap_or(&field.name);
                match object.fields.iter().find(|(name, _)| *name == plain) {
                    Some((_, slot)) => self.slot(slot),
                    None => self.nothing(&field.type_name),
                }
            }
            if class.flags & WRITE_METHOD != 0 {
                self.bytes.push(tag::END_BLOCK_DATA);
            }
        }
    }

    /// Java's default of a type.
    fn nothing(&mut self, type_name: &str) {
        let zeros = match type_name.as_bytes()[0] {
            b'B' | b'Z' => 1,
            b'C' | b'S' => 2,
            b'F' | b'I' => 4,
            b'D' | b'J' => 8,
            _ => return self.bytes.push(tag::NULL),
        };
        self.bytes.resize(self.bytes.len() + zeros, 0);
    }

    fn slot(&mut self, slot: &Slot) {
        match slot {
            Slot::Null => self.bytes.push(tag::NULL),
            Slot::Boolean(value) => self.bytes.push((*value).into()),
            Slot::Int(value) => self.bytes.extend(value.to_be_bytes()),
            Slot::Long(value) => self.bytes.extend(value.to_be_bytes()),
            Slot::Text(text) => self.text(text),
            Slot::Object(object) => self.object(object),
            Slot::Shared(key, object) => {
                if !self.refers(&Known::Shared(key)) {
                    self.bytes.push(tag::OBJECT);
                    self.class(object.class, object.is_bare);
                    let handle = self.handle();
                    self.handles.insert(Known::Shared(key), handle);
                    self.fields(object);
                }
            }
            Slot::Class(name) => {
                self.bytes.push(tag::CLASS);
                self.class(name, false);
                self.handle();
            }
            Slot::Constant(class, name) => {
                self.bytes.push(tag::ENUM);
                self.class(class, false);
                self.handle();
                self.text(name);
            }
        }
    }
}
