//! Reads a Java object stream into a graph of values.
//!
//! The bytes come from strangers: depth and number of values are bounded, nothing is reserved for a
//! length before its bytes are there, and a text that is referred to is not copied.

use std::sync::Arc;

use super::{
    BLOCK_DATA, Class, ClassDescription, ClassId, EXTERNALIZABLE, FIRST_HANDLE, FieldDescription,
    MAGIC, Node, NodeId, Part, SERIALIZABLE, Stream, Value, WRITE_METHOD, tag, utf8,
};
use crate::cursor::Cursor;
use crate::error::{Result, WireError};

/// What a stream may consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep objects may be nested.
    pub depth: usize,
    /// How many values, fields of classes and parts of objects there may be together.
    pub values: usize,
}

impl Default for Limits {
    /// Enough for a request about 100,000 executors.
    fn default() -> Self {
        Self { depth: 64, values: 400_000 }
    }
}

/// Classes that say they write their fields, and do not (Scala 2.12).
const WITHOUT_FIELDS: [&str; 1] = ["scala.collection.mutable.ListBuffer"];

pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Stream> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err(WireError::malformed("it is not a Java object stream"));
    }
    let mut reader = Reader {
        cursor,
        handles: Vec::new(),
        nodes: Vec::new(),
        classes: Vec::new(),
        left: limits.values,
        limits,
        depth: 0,
    };
    loop {
        if let Item::Value(root) = reader.item()? {
            return Ok(Stream { nodes: reader.nodes, classes: reader.classes, root });
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Handle {
    Node(NodeId),
    Class(ClassId),
    /// A class whose description is being read: nothing can extend it or be of it yet.
    UnfinishedClass,
}

enum Item {
    Value(Value),
    /// Bytes of a class's own.
    Block,
    EndBlock,
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    handles: Vec<Handle>,
    nodes: Vec<Node>,
    classes: Vec<Class>,
    /// How many more values there may be.
    left: usize,
    limits: Limits,
    depth: usize,
}

impl Reader<'_> {
    fn count(&mut self) -> Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            WireError::too_large(format!("an object of more than {} values", self.limits.values))
        })?;
        Ok(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == self.limits.depth {
            let depth = self.limits.depth;
            return Err(WireError::too_large(format!("objects nested deeper than {depth}")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn wrong(&self, what: &str) -> WireError {
        WireError::malformed(format!("{what} at byte {} of the stream", self.cursor.position()))
    }

    fn text(&mut self) -> Result<Arc<str>> {
        let length = self.cursor.u16()?;
        Ok(utf8::decode(self.cursor.take(length.into())?).into())
    }

    /// A place for something that may refer to itself.
    fn reserve(&mut self) -> NodeId {
        self.add(Node::Unfinished)
    }

    fn add(&mut self, node: Node) -> NodeId {
        // There are fewer nodes than bytes in a frame, whose number is less than 2^31.
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        self.handles.push(Handle::Node(id));
        id
    }

    fn handle(&mut self) -> Result<Handle> {
        let number = self.cursor.i32()?;
        let at = usize::try_from(number.wrapping_sub(FIRST_HANDLE)).ok();
        let found = at.and_then(|at| self.handles.get(at)).copied();
        found.ok_or_else(|| self.wrong("a reference to nothing"))
    }

    fn item(&mut self) -> Result<Item> {
        self.deeper(Self::item_here)
    }

    fn item_here(&mut self) -> Result<Item> {
        self.count()?;
        let tag = self.cursor.u8()?;
        let node = match tag {
            tag::NULL => return Ok(Item::Value(Value::Null)),
            tag::BLOCK_DATA => {
                let length = self.cursor.u8()?;
                self.cursor.take(length.into())?;
                return Ok(Item::Block);
            }
            tag::BLOCK_DATA_LONG => {
                let length = self.cursor.length()?;
                self.cursor.take(length)?;
                return Ok(Item::Block);
            }
            tag::END_BLOCK_DATA => return Ok(Item::EndBlock),
            tag::RESET => {
                self.handles.clear();
                return Ok(Item::Block);
            }
            tag::REFERENCE => match self.handle()? {
                Handle::Node(node) => node,
                Handle::Class(_) | Handle::UnfinishedClass => self.described(),
            },
            tag::STRING => {
                let text = self.text()?;
                self.add(Node::Text(text))
            }
            tag::LONG_STRING => {
                let length = usize::try_from(self.cursor.i64()?);
                let length = length.map_err(|_| self.wrong("a text of negative length"))?;
                let text = utf8::decode(self.cursor.take(length)?);
                self.add(Node::Text(text.into()))
            }
            tag::CLASS_DESC | tag::PROXY_CLASS_DESC => {
                self.class_of_tag(tag)?;
                self.described()
            }
            tag::CLASS => {
                let class = self.class()?;
                self.add(Node::Class(class))
            }
            tag::ENUM => self.constant()?,
            tag::ARRAY => self.array()?,
            tag::OBJECT => self.object()?,
            _ => return Err(self.wrong(&format!("an unknown tag {tag:#x}"))),
        };
        Ok(Item::Value(Value::Node(node)))
    }

    /// A class description by itself has a handle of its own already.
    fn described(&mut self) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node::Description);
        id
    }

    /// The description of a class that something is of.
    fn class(&mut self) -> Result<ClassId> {
        self.optional_class()?.ok_or_else(|| self.wrong("something of no class"))
    }

    fn optional_class(&mut self) -> Result<Option<ClassId>> {
        let tag = self.cursor.u8()?;
        self.class_of_tag(tag)
    }

    fn class_of_tag(&mut self, tag: u8) -> Result<Option<ClassId>> {
        match tag {
            tag::NULL => Ok(None),
            tag::REFERENCE => match self.handle()? {
                Handle::Class(class) => Ok(Some(class)),
                _ => Err(self.wrong("a reference to what is no class")),
            },
            tag::CLASS_DESC => self.deeper(Self::description).map(Some),
            tag::PROXY_CLASS_DESC => self.deeper(Self::proxy).map(Some),
            _ => Err(self.wrong("no class")),
        }
    }

    fn description(&mut self) -> Result<ClassId> {
        self.count()?;
        let name = self.text()?;
        let serial_version = self.cursor.i64()?;
        let at = self.handles.len();
        self.handles.push(Handle::UnfinishedClass);
        let flags = self.cursor.u8()?;
        let count = self.cursor.u16()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            self.count()?;
            let kind = self.cursor.u8()?;
            let name = self.text()?;
            let type_name = match kind {
                b'L' | b'[' => match self.item()? {
                    Item::Value(Value::Node(NodeId(id))) => match &self.nodes[id as usize] {
                        // It says again what kind it is.
                        Node::Text(text) if text.as_bytes().first() == Some(&kind) => text.clone(),
                        _ => return Err(self.wrong("a type that is none")),
                    },
                    _ => return Err(self.wrong("a type that is none")),
                },
                b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S' | b'Z' => {
                    char::from(kind).to_string().into()
                }
                _ => return Err(self.wrong("a field of unknown type")),
            };
            fields.push(FieldDescription { name: name.to_string(), type_name });
        }
        let description =
            ClassDescription { name, serial_version, flags, fields, super_class: None };
        self.finish_class(at, description)
    }

    fn proxy(&mut self) -> Result<ClassId> {
        self.count()?;
        let at = self.handles.len();
        self.handles.push(Handle::UnfinishedClass);
        for _ in 0..self.cursor.length()? {
            self.count()?;
            self.text()?;
        }
        let description = ClassDescription {
            name: "a proxy class".into(),
            serial_version: 0,
            flags: SERIALIZABLE,
            fields: Vec::new(),
            super_class: None,
        };
        self.finish_class(at, description)
    }

    /// What follows the fields: what the class loader wrote, and the super class.
    fn finish_class(&mut self, at: usize, mut description: ClassDescription) -> Result<ClassId> {
        self.written()?;
        let super_class = self.optional_class()?;
        description.super_class = super_class.map(|class| {
            let Class { description, .. } = &self.classes[class.0 as usize];
            description.name.clone()
        });
        let id = ClassId(self.classes.len() as u32);
        self.classes.push(Class { description, super_class });
        // A reset in between has taken all handles.
        match self.handles.get_mut(at) {
            Some(handle) => *handle = Handle::Class(id),
            None => return Err(self.wrong("a reset within a class")),
        }
        Ok(id)
    }

    fn constant(&mut self) -> Result<NodeId> {
        self.class()?;
        let node = self.reserve();
        let name = match self.item()? {
            Item::Value(Value::Node(NodeId(id))) => match &self.nodes[id as usize] {
                Node::Text(name) => name.clone(),
                _ => return Err(self.wrong("a constant without a name")),
            },
            _ => return Err(self.wrong("a constant without a name")),
        };
        self.nodes[node.0 as usize] = Node::Constant(name);
        Ok(node)
    }

    fn array(&mut self) -> Result<NodeId> {
        let class = self.class()?;
        let node = self.reserve();
        let kind = match self.classes[class.0 as usize].description.name.as_bytes() {
            [b'[', kind, ..] => *kind,
            _ => return Err(self.wrong("an array of no array class")),
        };
        let length = self.cursor.length()?;
        let mut elements = Vec::new();
        for _ in 0..length {
            elements.push(self.value(kind)?);
        }
        self.nodes[node.0 as usize] = Node::Array(class, elements);
        Ok(node)
    }

    fn object(&mut self) -> Result<NodeId> {
        let class = self.class()?;
        let node = self.reserve();
        let mut chain = vec![class];
        while let Some(super_class) = self.classes[chain[chain.len() - 1].0 as usize].super_class {
            chain.push(super_class);
        }
        let mut parts = Vec::with_capacity(chain.len());
        for class in chain.into_iter().rev() {
            self.count()?;
            let part = self.part(class)?;
            parts.push(part);
        }
        self.nodes[node.0 as usize] = Node::Object(class, parts);
        Ok(node)
    }

    fn part(&mut self, class: ClassId) -> Result<Part> {
        let ClassDescription { name, flags, fields, .. } =
            &self.classes[class.0 as usize].description;
        let flags = *flags;
        let mut part = Part { class, fields: Vec::new(), written: Vec::new() };
        if flags & EXTERNALIZABLE != 0 {
            if flags & BLOCK_DATA == 0 {
                let message = format!("{name} writes itself in a form of its own");
                return Err(WireError::unsupported(message));
            }
            part.written = self.written()?;
            return Ok(part);
        }
        if flags & SERIALIZABLE == 0 {
            return Ok(part);
        }
        if !WITHOUT_FIELDS.contains(&&**name) {
            let kinds: Vec<u8> = fields.iter().map(|field| field.type_name.as_bytes()[0]).collect();
            for kind in kinds {
                let value = self.value(kind)?;
                part.fields.push(value);
            }
        }
        if flags & WRITE_METHOD != 0 {
            part.written = self.written()?;
        }
        Ok(part)
    }

    fn written(&mut self) -> Result<Vec<Value>> {
        let mut written = Vec::new();
        loop {
            match self.item()? {
                Item::Value(value) => written.push(value),
                Item::Block => {}
                Item::EndBlock => return Ok(written),
            }
        }
    }

    fn value(&mut self, kind: u8) -> Result<Value> {
        if matches!(kind, b'L' | b'[') {
            return match self.item()? {
                Item::Value(value) => Ok(value),
                Item::Block | Item::EndBlock => Err(self.wrong("no value")),
            };
        }
        self.count()?;
        Ok(match kind {
            b'Z' => Value::Boolean(self.cursor.u8()? != 0),
            b'B' => Value::Int((self.cursor.u8()? as i8).into()),
            b'C' => Value::Int(self.cursor.u16()?.into()),
            b'S' => Value::Int((self.cursor.u16()? as i16).into()),
            b'I' => Value::Int(self.cursor.i32()?),
            b'J' => Value::Long(self.cursor.i64()?),
            b'F' => Value::Double(f32::from_bits(self.cursor.i32()? as u32).into()),
            b'D' => Value::Double(f64::from_bits(self.cursor.i64()? as u64)),
            _ => return Err(self.wrong("a value of unknown type")),
        })
    }
}

#[cfg(test)]
mod tests;
