//! Tests of nested names.

use proptest::prelude::*;

use super::super::Pairs;
use super::*;

fn read(encoded: &str) -> Result<FormValue, BadRequest> {
    nest(Pairs::new(encoded.as_bytes()))
}

/// A value in a short notation: `"text"`, `[list]`, `{map}`.
fn shown(value: &FormValue) -> String {
    match value {
        FormValue::Text(text) => format!("{text:?}"),
        FormValue::List(values) => {
            format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(","))
        }
        FormValue::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn names_nest_as_in_the_original() {
    for (encoded, expected) in [
        ("", "{}"),
        ("a=1&b=2", r#"{a:"1",b:"2"}"#),
        ("a", r#"{a:""}"#),
        ("=1&&a=2", r#"{a:"2"}"#),
        // The last scalar wins, in the place of the first.
        ("a=1&b=2&a=3", r#"{a:"3",b:"2"}"#),
        ("a[]=1&a[]=2", r#"{a:["1","2"]}"#),
        ("a%5B%5D=1&a%5b%5d=%20x+y", r#"{a:["1"," x y"]}"#),
        ("a[k]=1&a[l]=2&a[k]=3", r#"{a:{k:"3",l:"2"}}"#),
        ("a[k][]=1&a[k][]=2&a[l][m][n]=3", r#"{a:{k:["1","2"],l:{m:{n:"3"}}}}"#),
        ("a[][x]=1&a[][x]=2", r#"{a:[{x:"1"},{x:"2"}]}"#),
        // An index behind the greatest; a map as soon as they are not 0, 1, 2.
        ("a[5]=x&a[]=y", r#"{a:{5:"x",6:"y"}}"#),
        ("a[1]=x&a[0]=y", r#"{a:{1:"x",0:"y"}}"#),
        ("a[0]=x&a[1]=y&a[]=z", r#"{a:["x","y","z"]}"#),
        ("a[00]=x&a[-1]=y&a[]=z", r#"{a:{00:"x",-1:"y",0:"z"}}"#),
        // There is no index behind the last one.
        ("a[9223372036854775806]=x&a[]=y&a[]=z", r#"{a:{9223372036854775806:"x",9223372036854775807:"y"}}"#),
        // Kinds replace each other.
        ("a=1&a[]=2", r#"{a:["2"]}"#),
        ("a[x]=1&a=2&a[y]=3", r#"{a:{y:"3"}}"#),
        ("a[x]=1&a=2", r#"{a:"2"}"#),
        // What variables of the original cannot have in their names.
        ("a.b=1&a+b=2&c.d[e.f]=3", r#"{a_b:"2",c_d:{e.f:"3"}}"#),
        ("++a=1", r#"{a:"1"}"#),
        ("a[b=1&c[d.e=2", r#"{a_b:"1",c_d_e:"2"}"#),
        ("a[b][c=1", r#"{a:{b:"1"}}"#),
        ("a[b]c=1&d[e]f[g]=2", r#"{a:{b:"1"},d:{e:"2"}}"#),
        ("[a]=1&[=2", "{}"),
        ("a]=1", r#"{a]:"1"}"#),
        ("a[+]=1&a[+x]=2", r#"{a:{0:"1", x:"2"}}"#),
    ] {
        assert_eq!(shown(&read(encoded).unwrap()), expected, "{encoded}");
    }
}

#[test]
fn a_value_is_found_by_its_keys() {
    let value = read("a[]=1&a[]=2&b[k]=3").unwrap();
    assert_eq!(value.get("a").and_then(|a| a.get("1")).and_then(FormValue::text), Some("2"));
    assert_eq!(value.get("b").and_then(|b| b.get("k")).and_then(FormValue::text), Some("3"));
    assert!(value.get("c").is_none() && value.get("a").unwrap().get("2").is_none() && value.text().is_none());
    assert_eq!((value.len(), value.get("a").unwrap().values().count()), (2, 2));
    assert!(FormValue::Text(String::new()).is_empty() && !value.is_empty());
}

#[test]
fn variables_and_levels_have_a_limit() {
    let many = |count: usize| (0..count).map(|at| format!("v{at}=1")).collect::<Vec<_>>().join("&");
    assert_eq!(read(&many(MAX_VARIABLES)).unwrap().len(), MAX_VARIABLES);
    assert!(matches!(read(&many(MAX_VARIABLES + 1)), Err(BadRequest::TooMany { limit: MAX_VARIABLES, .. })));

    let deep = |levels: usize| format!("a{}=1", "[x]".repeat(levels));
    let mut value = &read(&deep(MAX_DEPTH)).unwrap();
    for _ in 0..MAX_DEPTH {
        value = value.get("a").or_else(|| value.get("x")).unwrap();
    }
    assert_eq!(value.get("x").and_then(FormValue::text), Some("1"));
    assert!(matches!(read(&deep(MAX_DEPTH + 1)), Err(BadRequest::TooMany { limit: MAX_DEPTH, .. })));
    assert!(read(&deep(1_000_000)).is_err());
}

#[test]
fn the_worst_names_cost_no_more_than_their_length() {
    // Equal beginnings, and as many levels and variables as there may be.
    let long = "k".repeat(4000);
    let names: Vec<_> =
        (0..MAX_VARIABLES).map(|at| format!("{long}{at}{}=1", "[]".repeat(MAX_DEPTH))).collect();
    assert_eq!(read(&names.join("&")).unwrap().len(), MAX_VARIABLES);
}

proptest! {
    #[test]
    fn no_name_is_a_panic(encoded in "[a-c0-2\\[\\]\\[\\].+%5BD&=\u{e9}]{0,200}") {
        let value = read(&encoded).unwrap();
        prop_assert!(value.len() <= encoded.len());
    }

    #[test]
    fn plain_names_come_back(pairs in proptest::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..20)) {
        let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let value = read(&encoded).unwrap();
        prop_assert_eq!(value.len(), pairs.len());
        for (name, text) in &pairs {
            prop_assert_eq!(value.get(name).and_then(FormValue::text), Some(text.as_str()));
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_value_is_written_as_json() {
    let value = read("a[]=1&a[]=2&b[k]=3&c").unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"a":["1","2"],"b":{"k":"3"},"c":""}"#);
}
