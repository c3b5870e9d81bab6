//! Streams of strangers.

use super::*;
use crate::WireErrorKind;

fn stream(content: &[&[u8]]) -> Vec<u8> {
    [&MAGIC[..], &content.concat()].concat()
}

/// A class of this name and these flags, without fields: up to its super class.
fn class(name: &str, flags: u8) -> Vec<u8> {
    let mut bytes = vec![tag::CLASS_DESC, 0, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.extend([0; 8]);
    bytes.extend([flags, 0, 0, tag::END_BLOCK_DATA]);
    bytes
}

fn read(bytes: &[u8]) -> Result<Stream> {
    Stream::read(bytes, Limits::default())
}

#[test]
fn every_cut_and_every_flipped_byte_is_an_answer() {
    let bytes = stream(&[
        &[tag::OBJECT],
        &class("A", 3),
        &[tag::NULL, tag::STRING, 0, 1, b'x'],
        &[tag::END_BLOCK_DATA],
    ]);
    assert!(read(&bytes).is_ok());
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "{cut} bytes");
    }
    for at in 0..bytes.len() {
        for flip in 1..=255 {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            // Whatever it says, it says it.
            let _ = read(&bytes);
        }
    }
}

#[test]
fn deep_streams_are_refused() {
    let mut bytes = stream(&[&[tag::OBJECT], &class("A", 3), &[tag::NULL]]);
    for _ in 0..100_000 {
        bytes.extend([tag::OBJECT, tag::REFERENCE, 0, 0x7E, 0, 0]);
    }
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.kind(), WireErrorKind::TooLarge, "{error}");
    let mut bytes = stream(&[&[tag::OBJECT]]);
    for _ in 0..100_000 {
        bytes.extend(class("A", 2));
    }
    assert_eq!(read(&bytes).unwrap_err().kind(), WireErrorKind::TooLarge);
}

#[test]
fn a_million_handles_are_refused() {
    let mut bytes = stream(&[&[tag::OBJECT], &class("A", 3), &[tag::NULL]]);
    for _ in 0..1_000_000 {
        bytes.extend([tag::STRING, 0, 0]);
    }
    bytes.push(tag::END_BLOCK_DATA);
    assert_eq!(read(&bytes).unwrap_err().kind(), WireErrorKind::TooLarge);
}

#[test]
fn a_huge_array_reserves_nothing() {
    let bytes = stream(&[&[tag::ARRAY], &class("[I", 2), &[tag::NULL, 0x7F, 0xFF, 0xFF, 0xFF]]);
    assert_eq!(read(&bytes).unwrap_err().kind(), WireErrorKind::Malformed);
    let bytes = stream(&[&[tag::ARRAY], &class("[I", 2), &[tag::NULL, 0xFF, 0xFF, 0xFF, 0xFF]]);
    assert_eq!(read(&bytes).unwrap_err().kind(), WireErrorKind::Malformed);
}

#[test]
fn an_object_may_contain_itself() {
    let itself = [tag::REFERENCE, 0, 0x7E, 0, 1, tag::END_BLOCK_DATA];
    let bytes = stream(&[&[tag::OBJECT], &class("A", 3), &[tag::NULL], &itself]);
    let stream = read(&bytes).unwrap();
    assert_eq!(stream.parts(stream.root())[0].written, [stream.root()]);
}

#[test]
fn a_class_cannot_extend_itself() {
    let itself = [tag::REFERENCE, 0, 0x7E, 0, 0];
    let bytes = stream(&[&[tag::OBJECT], &class("A", 2), &itself]);
    assert!(read(&bytes).unwrap_err().to_string().contains("no class"));
}

/// A class of so many fields, all of one type, which is a text and then a reference to it.
fn fields(type_name: &[u8], count: u16) -> Vec<u8> {
    let mut bytes = vec![tag::CLASS_DESC, 0, 1, b'A'];
    bytes.extend([0; 8]);
    bytes.push(SERIALIZABLE);
    bytes.extend(count.to_be_bytes());
    for number in 0..count {
        bytes.extend([b'L', 0, 1, b'f']);
        if number == 0 {
            bytes.push(tag::STRING);
            bytes.extend((type_name.len() as u16).to_be_bytes());
            bytes.extend(type_name);
        } else {
            bytes.extend([tag::REFERENCE, 0, 0x7E, 0, 1]);
        }
    }
    bytes.extend([tag::END_BLOCK_DATA, tag::NULL]);
    bytes
}

#[test]
fn a_type_says_what_its_field_is() {
    let read = |type_name: &[u8]| {
        read(&stream(&[&[tag::OBJECT], &fields(type_name, 1), &[tag::NULL]])).map(|_| ())
    };
    read(b"Ljava/lang/String;").unwrap();
    for wrong in [&b""[..], b"I", b"[I"] {
        assert!(read(wrong).unwrap_err().to_string().contains("a type that is none"));
    }
}

#[test]
fn a_long_text_that_is_referred_to_is_there_once() {
    let type_name = [b'L'; u16::MAX as usize];
    let count = u16::MAX;
    let bytes = stream(&[&[tag::OBJECT], &fields(&type_name, count), &vec![tag::NULL; 65_535]]);
    let stream = read(&bytes).unwrap();
    let described = stream.classes().next().unwrap();
    let first = &described.fields[0].type_name;
    assert!(described.fields.iter().all(|field| Arc::ptr_eq(&field.type_name, first)));
}

#[test]
fn a_handle_before_the_first_is_nothing() {
    for handle in [i32::MIN, -1, 0, FIRST_HANDLE - 1, FIRST_HANDLE, i32::MAX] {
        let bytes = stream(&[&[tag::REFERENCE], &handle.to_be_bytes()]);
        assert!(read(&bytes).unwrap_err().to_string().contains("a reference to nothing"));
    }
}
