//! A stream comes back as it was written, and no other way: cut or changed anywhere, it is refused.

use super::*;

const MESSAGES: [&[u8]; 4] = [b"hello", b"", b"a\nb\0c", b"last"];

fn header() -> Header {
    let max_message = 1 << 20;
    Header {
        page_size: 1 << 20,
        max_pages: 4,
        max_messages_per_page: 100,
        retention: 3,
        checksum: 1,
        max_message,
    }
}

fn written() -> Vec<u8> {
    let mut stream = Vec::new();
    let mut writer = Writer::new(&mut stream, &header()).unwrap();
    for (i, message) in MESSAGES.iter().enumerate() {
        writer.message(65_536 + i as u64, message).unwrap();
    }
    assert_eq!(writer.end().unwrap(), MESSAGES.len() as u64);
    stream
}

/// What is taken from a stream before it ends or breaks.
fn read(stream: &[u8]) -> (Vec<Vec<u8>>, Option<Broken>) {
    let mut taken = Vec::new();
    let mut reader = match Reader::new(stream) {
        Ok(reader) => reader,
        Err(e) => return (taken, Some(e)),
    };
    loop {
        match reader.next() {
            Ok(Some(message)) => taken.push(message),
            Ok(None) => return (taken, None),
            Err(e) => return (taken, Some(e)),
        }
    }
}

#[test]
fn as_it_was_written() {
    let stream = written();
    let (taken, broken) = read(&stream);
    assert!(broken.is_none());
    assert_eq!(taken, MESSAGES);
    assert_eq!(Reader::new(&stream[..]).unwrap().header, header());
}

#[test]
fn cut_at_every_byte() {
    let stream = written();
    for len in 0..stream.len() {
        let (taken, broken) = read(&stream[..len]);
        assert!(matches!(broken, Some(Broken::Cut)), "cut at {len}: {broken:?}");
        assert_eq!(taken, MESSAGES[..taken.len()]);
    }
}

#[test]
fn every_bit_flipped() {
    let mut stream = written();
    for at in 0..stream.len() * 8 {
        stream[at / 8] ^= 1 << (at % 8);
        let (taken, broken) = read(&stream);
        assert!(broken.is_some(), "bit {at}");
        assert_eq!(taken, MESSAGES[..taken.len()], "bit {at}");
        stream[at / 8] ^= 1 << (at % 8);
    }
}

#[test]
fn records_doubled_left_out_and_exchanged() {
    let stream = written();
    let mut at = HEADER;
    let mut records = Vec::new();
    for message in MESSAGES {
        let len = 17 + message.len();
        records.push(&stream[at..at + len]);
        at += len;
    }
    let trailer = &stream[at..];
    for order in [&[0, 1, 2][..], &[0, 2, 3], &[0, 1, 1, 2, 3], &[0, 2, 1, 3], &[]] {
        let mut other = stream[..HEADER].to_vec();
        order.iter().for_each(|&i: &usize| other.extend_from_slice(records[i]));
        other.extend_from_slice(trailer);
        let (taken, broken) = read(&other);
        assert!(matches!(broken, Some(Broken::Damaged)), "{order:?}: {broken:?}");
        assert_eq!(taken, MESSAGES[..taken.len()]);
    }
    let more = [&stream[..], b"x"].concat();
    assert!(matches!(read(&more).1, Some(Broken::Damaged)));
}
