use std::path::Path;

use super::*;

/// Compares with the document in the tree; `UPDATE_EXPECT=1` rewrites that instead.
#[test]
fn the_document_in_the_tree_is_the_one_of_this_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let document = document();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has a directory")).expect("writable");
        std::fs::write(&path, &document).expect("writable");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == document,
        "docs/reference/openapi.json is not what the code says; look at the difference that \
         UPDATE_EXPECT=1 makes"
    );
}

#[test]
fn every_type_that_is_referred_to_is_described() {
    let document: serde_json::Value = serde_json::from_str(&document()).expect("it is JSON");
    let schemas = document["components"]["schemas"].as_object().expect("there are types");
    let text = document.to_string();
    let mut count = 0;
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a reference ends");
        assert!(schemas.contains_key(name), "{name} is referred to and not described");
        count += 1;
    }
    assert!(count > 30, "only {count} references found: the search is wrong");
}

#[test]
fn both_methods_of_one_path_are_there() {
    let document: serde_json::Value = serde_json::from_str(&document()).expect("it is JSON");
    for endpoint in ENDPOINTS {
        let method = if endpoint.method == Method::Get { "get" } else { "post" };
        let summary = &document["paths"][endpoint.path][method]["summary"];
        assert_eq!(summary, endpoint.summary, "{method} {}", endpoint.path);
    }
}
