//! RFC 7541, appendix C; what is cut off, unknown, hostile; and everything against an encoder.

use proptest::prelude::*;

use super::{Block, Decoder, Field, MAX_LIST};
use crate::protocol::http2::testing::{Coded, Encoder};

/// The bytes of hexadecimal digits, with any space between.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// `name: value` of each field, `?` for what is not known, and what the block was.
fn read_part(decoder: &mut Decoder, block: &[u8], complete: bool) -> (Vec<String>, Block) {
    let mut fields = Vec::new();
    let part = |part: Option<&[u8]>| part.map_or("?".into(), |part| String::from_utf8_lossy(part).into_owned());
    let what = decoder.decode(block, complete, &mut |field: Field<'_>| {
        fields.push(format!("{}: {}", part(field.name), part(field.value)));
    });
    (fields, what)
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
    let (fields, what) = read_part(decoder, block, true);
    assert_eq!(what, Block::Whole);
    fields
}

#[test]
fn single_fields() {
    for (block, field, added) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header", 55),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0),
        ("82", ":method: GET", 0),
    ] {
        let mut decoder = Decoder::default();
        assert_eq!(read(&mut decoder, &hex(block)), [field]);
        assert_eq!(decoder.table().size(), added);
    }
}

/// Sections C.3 and C.4: the same requests, without and with Huffman code.
#[test]
fn requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let expected: [(&[&str], usize); 3] = [
        (&[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"], 57),
        (&[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"], 110),
        (
            &[
                ":method: GET",
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value",
            ],
            164,
        ),
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        for (block, (fields, size)) in blocks.into_iter().zip(expected) {
            assert_eq!(read(&mut decoder, &hex(block)), fields);
            assert_eq!(decoder.table().size(), size);
        }
    }
}

/// Sections C.5 and C.6: the same responses, without and with Huffman code, and a table of 256 bytes.
#[test]
fn responses() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
         3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let location = "location: https://www.example.com";
    let first = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let expected: [(&[&str], usize); 3] = [
        (&[":status: 302", "cache-control: private", first, location], 222),
        (&[":status: 307", "cache-control: private", first, location], 222),
        (
            &[
                ":status: 200",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:22 GMT",
                location,
                "content-encoding: gzip",
                cookie,
            ],
            215,
        ),
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        decoder.table.resize(256);
        for (block, (fields, size)) in blocks.into_iter().zip(expected) {
            assert_eq!(read(&mut decoder, &hex(block)), fields);
            assert_eq!(decoder.table().size(), size);
        }
    }
}

#[test]
fn an_unseen_past_is_unknown() {
    let mut decoder = Decoder::default();
    // Refers to entries that were added before; adds one with a name and one without.
    let fields = read(&mut decoder, &hex("82 c0 bf 7e 0161 40 0162 0163"));
    assert_eq!(fields, [":method: GET", "?: ?", "?: ?", "?: a", "b: c"]);
    // What was added has its place.
    assert_eq!(read(&mut decoder, &hex("be bf c0")), ["b: c", "?: a", "?: ?"]);
}

#[test]
fn after_a_hole_entries_are_unknown_rather_than_wrong() {
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, &hex("40 0161 0131")), ["a: 1"]);
    let (fields, what) = read_part(&mut decoder, &hex("be 40 0162 0132 40 05 63"), false);
    assert_eq!((fields, what), (vec!["a: 1".to_owned(), "b: 2".to_owned()], Block::Cut));
    assert_eq!(read(&mut decoder, &hex("be bf 40 0164 0134 be")), ["?: ?", "?: ?", "d: 4", "d: 4"]);
    // Cut off between two fields: others may follow.
    assert_eq!(read_part(&mut decoder, &hex("be"), false), (vec!["d: 4".to_owned()], Block::Cut));
    assert_eq!(read(&mut decoder, &hex("be")), ["?: ?"]);
}

#[test]
fn hostile_blocks() {
    for block in [
        "80",                      // index 0
        "3f",                      // a size that goes on
        "ff",                      // an index that goes on
        "ff ff ff ff ff ff ff 0f", // and on
        "7f ff ff ff ff 0f",
        "40",
        "40 7f ff ff ff 07 61", // a name longer than the block
        "40 01 61",
        "00 0a 61",
    ] {
        let (fields, what) = read_part(&mut Decoder::default(), &hex(block), true);
        assert_eq!((fields, what), (vec![], Block::Malformed), "{block}");
    }
    // Two bytes short of a code: the value cannot be read, what follows can.
    assert_eq!(read(&mut Decoder::default(), &hex("00 0161 82 ffff 82")), ["a: ?", ":method: GET"]);
}

/// Some kilobytes that would become megabytes.
#[test]
fn a_bomb() {
    let mut decoder = Decoder::default();
    let mut block = hex("40 0161 7f a1 1e");
    block.extend([b'x'; 4000]);
    block.extend([0xbe; 16_000]);
    let mut seen = 0;
    let what = decoder.decode(&block, true, &mut |field| seen += field.value.map_or(0, <[u8]>::len));
    assert_eq!(what, Block::TooLong);
    assert!((4000..=MAX_LIST).contains(&seen), "{seen}");
    assert_eq!(decoder.table().len(), 1);
}

fn coded() -> impl Strategy<Value = Coded> {
    let value = prop_oneof![4 => "[ -~]{0,9}", 1 => "[a-z]{400,1500}"];
    ("[a-z]{0,5}", value, any::<bool>(), any::<bool>()).prop_map(|(name, value, add, huffman)| Coded {
        name,
        value,
        add,
        huffman,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_encoded(blocks in prop::collection::vec(prop::collection::vec(coded(), 0..8), 0..8)) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for fields in blocks {
            let mut block = Vec::new();
            fields.iter().for_each(|field| encoder.encode(field, &mut block));
            let expected: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name, field.value)).collect();
            prop_assert_eq!(read(&mut decoder, &block), expected);
        }
    }

    /// Whatever was missed of the blocks before: a field is right, or a part of it is unknown; and what was added since is known.
    #[test]
    fn unknown_rather_than_wrong(
        blocks in prop::collection::vec((prop::collection::vec(coded(), 0..8), prop::option::of(0..40_usize)), 1..8),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (fields, cut) in blocks {
            let mut block = Vec::new();
            fields.iter().for_each(|field| encoder.encode(field, &mut block));
            let seen = cut.unwrap_or(block.len()).min(block.len());
            let (said, what) = read_part(&mut decoder, &block[..seen], cut.is_none());
            prop_assert!(matches!(what, Block::Whole | Block::Cut));
            prop_assert!(cut.is_some() || said.len() == fields.len());
            for (said, field) in said.iter().zip(&fields) {
                let (name, value) = said.split_once(": ").unwrap();
                prop_assert!(name == "?" || name == field.name, "{said} for {field:?}");
                prop_assert!(value == "?" || value == field.value, "{said} for {field:?}");
            }
        }
    }

    #[test]
    fn any_bytes(blocks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..20)) {
        let mut decoder = Decoder::default();
        for (block, complete) in blocks {
            let mut size = 0;
            decoder.decode(&block, complete, &mut |field| {
                size += field.name.map_or(0, <[u8]>::len) + field.value.map_or(0, <[u8]>::len);
            });
            prop_assert!(size <= MAX_LIST);
        }
    }
}
