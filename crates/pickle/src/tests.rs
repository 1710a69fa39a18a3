use proptest::prelude::*;

use super::*;

fn read(program: &[u8]) -> Result<Program<'_>, PickleError> {
    load(program)
}

/// The top value of a program that is read, printed with everything in it.
fn shown(program: &[u8]) -> String {
    fn show(program: &Program<'_>, value: Value) -> String {
        let all =
            |parts: &[Value]| parts.iter().map(|&part| show(program, part)).collect::<Vec<_>>().join(" ");
        let pairs = |pairs: &[(Value, Value)]| {
            let pair =
                |&(key, value): &(Value, Value)| format!("{}:{}", show(program, key), show(program, value));
            pairs.iter().map(pair).collect::<Vec<_>>().join(" ")
        };
        match (value, program.object(value)) {
            (Value::Text { .. }, _) => format!("{:?}", program.text(value).expect("UTF-8")),
            (Value::Long { .. }, _) => format!("{:x?}", program.bytes(value).expect("bytes")),
            (Value::Global(_), _) => program.global(value).expect("a name").to_string(),
            (_, Some(Object::List(parts))) => format!("[{}]", all(parts)),
            (_, Some(Object::Tuple(parts))) => format!("({})", all(parts)),
            (_, Some(Object::Dictionary(entries))) => format!("{{{}}}", pairs(entries)),
            (_, Some(Object::Persistent(value))) => format!("@{}", show(program, *value)),
            (_, Some(Object::Set(parts))) => format!("<{}>", all(parts)),
            (_, Some(Object::Call(call))) => {
                let arguments = program.tuple(call.arguments).expect("a tuple");
                let [keywords, state] = [(call.keywords, "**"), (call.state, "!")].map(|(value, mark)| {
                    value.map_or(String::new(), |value| format!("{mark}{}", show(program, value)))
                });
                let parts =
                    if call.parts.is_empty() { String::new() } else { format!("[{}]", all(&call.parts)) };
                let (function, arguments) = (show(program, call.function), all(arguments));
                format!("{function}({arguments}){keywords}{{{}}}{parts}{state}", pairs(&call.items))
            }
            (plain, None) => format!("{plain:?}"),
        }
    }
    let program = read(program).expect("plain data");
    show(&program, program.top())
}

#[test]
fn numbers() {
    assert_eq!(shown(b"\x80\x02N."), "None");
    assert_eq!(shown(b"\x80\x02(\x88\x89t."), "(Bool(true) Bool(false))");
    assert_eq!(shown(b"\x80\x02(K\xffM\xff\xffJ\xff\xff\xff\xfft."), "(Int(255) Int(65535) Int(-1))");
    // LONG1 of 0, 1, 8 and 9 bytes.
    assert_eq!(shown(b"\x80\x02(\x8a\x00\x8a\x01\xfe\x8a\x02\xff\x00t."), "(Int(0) Int(-2) Int(255))");
    assert_eq!(shown(b"\x80\x02\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."), format!("Int({})", i64::MIN));
    assert_eq!(
        shown(b"\x80\x02\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09."),
        "[1, 2, 3, 4, 5, 6, 7, 8, 9]"
    );
    // LONG4, and what Python 2 writes of integers beyond 32 bits.
    assert_eq!(shown(b"\x80\x02\x8b\x02\x00\x00\x00\x00\xff."), "Int(-256)");
    assert_eq!(
        shown(b"\x80\x02(I4294967296\nI-7\nI01\nI00\nt."),
        "(Int(4294967296) Int(-7) Bool(true) Bool(false))"
    );
    assert_eq!(shown(b"\x80\x02G\x3f\xf8\x00\x00\x00\x00\x00\x00."), "Float(1.5)");
}

#[test]
fn strings_of_every_opcode() {
    for program in [
        &b"\x80\x02U\x02ab."[..],
        b"\x80\x03C\x02ab.",
        b"\x80\x04\x8c\x02ab.",
        b"\x80\x02T\x02\x00\x00\x00ab.",
        b"\x80\x03B\x02\x00\x00\x00ab.",
        b"\x80\x02X\x02\x00\x00\x00ab.",
        b"\x80\x04\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab.",
        b"\x80\x04\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab.",
        b"\x80\x05\x96\x02\x00\x00\x00\x00\x00\x00\x00ab.",
    ] {
        assert_eq!(shown(program), "\"ab\"");
    }
    let program = read(b"\x80\x02U\x02\xff\xfe.").expect("bytes");
    assert_eq!((program.text(program.top()), program.bytes(program.top())), (None, Some(&b"\xff\xfe"[..])));
}

#[test]
fn containers_the_memo_and_frames() {
    assert_eq!(shown(b"\x80\x02)."), "()");
    assert_eq!(shown(b"\x80\x02K\x01K\x02K\x03\x87\x85."), "((Int(1) Int(2) Int(3)))");
    assert_eq!(shown(b"\x80\x02](K\x01K\x02eK\x03a."), "[Int(1) Int(2) Int(3)]");
    assert_eq!(
        shown(b"\x80\x02}(U\x01aK\x01U\x01bK\x02uU\x01aK\x03s."),
        "{\"a\":Int(1) \"b\":Int(2) \"a\":Int(3)}"
    );
    // FRAME, MEMOIZE, LONG_BINGET
    let framed = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94K\x07\x94\x86j\x01\x00\x00\x00\x86.";
    assert_eq!(shown(framed), "(([] Int(7)) Int(7))");
    // EMPTY_SET and ADDITEMS, FROZENSET; POP, POP_MARK and DUP.
    assert_eq!(shown(b"\x80\x04\x8f(K\x01K\x02\x90(K\x03\x91\x86."), "(<Int(1) Int(2)> <Int(3)>)");
    assert_eq!(shown(b"\x80\x02NK\x010(K\x02K\x031K\x042\x86\x86."), "(None (Int(4) Int(4)))");
    // As in Python, POP of a mark with nothing above it removes the mark.
    assert_eq!(shown(b"\x80\x02N(0."), "None");
    // What was stored is shared, not copied.
    assert_eq!(shown(b"\x80\x02(]q\x00h\x00K\x01at."), "([Int(1)] [Int(1)])");
}

#[test]
fn calls_are_recorded() {
    let global = "cmodule\nClass\n";
    let program = |rest: &[u8]| [b"\x80\x02", global.as_bytes(), rest].concat();
    assert_eq!(shown(&program(b".")), "module.Class");
    assert_eq!(shown(&program(b"K\x01\x85R.")), "module.Class(Int(1)){}");
    assert_eq!(shown(&program(b")\x81}b.")), "module.Class(){}!{}");
    assert_eq!(shown(&program(b")R(U\x01aNu.")), "module.Class(){\"a\":None}");
    assert_eq!(shown(b"\x80\x04\x8c\x06module\x8c\x08function\x93)R."), "module.function(){}");
    assert_eq!(shown(b"\x80\x02U\x01aQ."), "@\"a\"");
    // NEWOBJ_EX, INST, OBJ, APPENDS, and a call of what another gave.
    assert_eq!(shown(&program(b")}U\x01aNs\x92.")), "module.Class()**{\"a\":None}{}");
    assert_eq!(shown(b"\x80\x02(K\x01imodule\nClass\n."), "module.Class(Int(1)){}");
    assert_eq!(shown(b"\x80\x02(cmodule\nClass\nK\x01o."), "module.Class(Int(1)){}");
    assert_eq!(shown(&program(b")\x81(K\x01K\x02e.")), "module.Class(){}[Int(1) Int(2)]");
    assert_eq!(shown(&program(b")RK\x01\x85R.")), "module.Class(){}(Int(1)){}");
    let bytes = program(b".and more");
    assert_eq!(read(&bytes).expect("plain data").length(), bytes.len() - "and more".len());
}

/// Whatever a name is of, it is data: nothing is looked up, and there is nothing that could be called.
#[test]
fn names_are_recorded() {
    let names = |program: &[u8]| {
        let program = read(program).expect("plain data");
        program.names().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(b"\x80\x02cposix\nsystem\n."), ["posix.system"]);
    assert_eq!(names(b"\x80\x04U\x05posixU\x06system\x93."), ["posix.system"]);
    assert_eq!(names(b"\x80\x02(ca\nb\ncb\na\nca\nb\nt."), ["a.b", "b.a"]);
    assert_eq!(names(b"\x80\x02c\xff\n\x07\n."), ["\u{fffd}.\u{7}"]);
    assert_eq!(shown(b"\x80\x02cposix\nsystem\nU\x05touch\x85R."), "posix.system(\"touch\"){}");
    // A name that is not that of a listed one is another.
    let program = read(b"\x80\x02cmodule\nClass.method\n.").expect("plain data");
    assert_eq!(program.global(program.top()), Some("module.Class.method"));
}

#[test]
fn what_refers_to_other_tables_is_refused() {
    let error = |program: &[u8]| read(program).expect_err("refused");
    // PERSID, STRING, EXT1, NEXT_BUFFER and what no opcode is.
    for opcode in [b'P', b'S', 0x82, 0x97, 0xff] {
        assert_eq!(error(&[0x80, 2, opcode, b'.']), PickleError::Opcode { opcode, at: 2 });
    }
}

#[test]
fn says_what_is_wrong() {
    let error = |program: &[u8]| read(program).expect_err("it is wrong").to_string();
    assert_eq!(error(b""), "ends in the middle of its pickle");
    assert_eq!(error(b"\x80\x02"), "ends in the middle of its pickle");
    assert_eq!(error(b"\x80\x02U\x05abc"), "ends in the middle of its pickle");
    for program in [&b"PK\x03\x04"[..], b"\x80\x01N.", b"\x80\x06N.", b"(dp0\n."] {
        assert_eq!(error(program), "is not a pickle of protocol 2 to 5");
    }
    let damaged = |program: &[u8], what: &str, at: usize| {
        assert_eq!(error(program), format!("is damaged: {what} at byte {at} of its pickle"));
    };
    damaged(b"\x80\x02.", "an empty stack", 3);
    damaged(b"\x80\x02\x85.", "an empty stack", 3);
    // What lies below a mark is out of reach.
    damaged(b"\x80\x02N(Q.", "an empty stack", 5);
    damaged(b"\x80\x02t.", "no mark", 3);
    damaged(b"\x80\x02h\x00.", "an empty memo slot", 4);
    damaged(b"\x80\x02q\x00.", "an empty stack", 4);
    damaged(b"\x80\x02Nr\x00\x00\x01\x00.", "a memo slot out of order", 8);
    damaged(b"\x80\x02NNa.", "a change of something that has no parts", 5);
    damaged(b"\x80\x02}Na.", "an appending to something that is no list", 5);
    damaged(b"\x80\x02](Nu.", "an item for something that is no dictionary", 6);
    damaged(b"\x80\x02}(Nu.", "an item for something that is no dictionary", 6);
    damaged(b"\x80\x02N)R.", "a call of something that is no function", 5);
    damaged(b"\x80\x02cmodule\nClass\nNR.", "a call of something that is no function", 18);
    damaged(b"\x80\x02}N\x85R.", "a call of something that is no function", 6);
    damaged(b"\x80\x02cmodule\nClass\n)N\x92.", "a call of something that is no function", 19);
    damaged(b"\x80\x02Ix\n.", "an integer that is none", 5);
    damaged(b"\x80\x020.", "no mark", 3);
    damaged(b"\x80\x02(o.", "an empty stack", 4);
    damaged(b"\x80\x02]}b.", "a state for something that has none", 5);
    damaged(b"\x80\x02NN\x93.", "a name that is no string", 5);
}

#[test]
fn bounds() {
    let limit = |program: Vec<u8>, what: &'static str, most: usize| {
        let program = [&b"\x80\x02"[..], &program].concat();
        assert_eq!(read(&program).expect_err("too much"), PickleError::Limit { what, most });
    };
    // Each byte pays for half of what is too many.
    limit(b"N".repeat(300_000), "values on the stack", 200_002);
    limit([&b"N"[..], &b"\x85".repeat(900_000)].concat(), "objects", 800_003);
    limit(b"(".repeat(1_001), "levels", 1_000);
    limit([&b"c"[..], &b"a".repeat(300)].concat(), "bytes in a name", 256);
    // Names put together of strings that are stored once.
    let strings: Vec<u8> =
        (0..200u8).flat_map(|i| [&[b'T', 200, 0, 0, 0][..], &[i; 200], &[b'q', i]].concat()).collect();
    let pairs = (0..200u8).flat_map(|a| (0..200u8).flat_map(move |b| [b'h', a, b'h', b, 0x93])).collect();
    let program = [b"\x80\x04".to_vec(), strings, pairs].concat();
    let error = read(&program).expect_err("too much").to_string();
    assert!(error.ends_with("bytes of names of Python objects in its pickle: it is refused"), "{error}");
}

/// A log of 200,000 dictionaries, as trainers keep one.
#[test]
fn a_long_log_is_read() {
    let entry = b"}q\x00(h\x01G\x3f\xf8\x00\x00\x00\x00\x00\x00h\x02K\x07h\x03K\x01u".repeat(1_000);
    let batch = [b"(".to_vec(), entry, b"e".to_vec()].concat().repeat(200);
    let head = b"\x80\x02U\x04lossq\x01U\x04stepq\x02U\x05epochq\x03000]";
    let program = [&head[..], &batch, b"."].concat();
    let program = read(&program).expect("a log");
    assert_eq!(program.sequence(program.top()).map(<[Value]>::len), Some(200_000));
}

proptest! {
    #[test]
    fn random_programs_never_panic(program in prop::collection::vec(
        prop_oneof![
            4 => prop::sample::select(b"\x00\x01\x02.NJKMGUTXBC})](t\x85\x86\x87qrhjaesucRbQ012Iio\x81\x8a\x8b\x8c\x8f\x90\x91\x92\x93\x94\x96".to_vec())
                .prop_map(|opcode| vec![opcode]),
            1 => Just(b"cmodule\nClass\n".to_vec()),
        ],
        0..80,
    )) {
        let program = [b"\x80\x02".as_slice(), &program.concat()].concat();
        if let Ok(read) = read(&program) {
            prop_assert!(read.length() <= program.len());
        }
    }
}
