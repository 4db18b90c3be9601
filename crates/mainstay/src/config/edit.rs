//! Changes to a configuration that leave everything else as its author wrote it: comments, order,
//! blanks.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, value};

/// Why a text could not be changed: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EditError(String);

fn fail<T>(sentence: impl Into<String>) -> Result<T, EditError> {
    Err(EditError(sentence.into()))
}

/// The text with node `name` of number `id` added, with an address in each of the networks named.
///
/// # Errors
/// When the text is not TOML, has no such network, or writes it in a way that can not be changed.
pub fn add_node(
    text: &str,
    name: &str,
    id: u8,
    addresses: &[(String, String)],
) -> Result<String, EditError> {
    let mut document = read(text)?;
    let mut node = Table::new();
    node["name"] = value(name);
    node["id"] = value(i64::from(id));
    let nodes = document.entry("node").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    match nodes {
        Item::ArrayOfTables(nodes) => {
            // Behind the last one, wherever in the file that stands.
            if let Some(position) = nodes.iter().filter_map(Table::position).max() {
                node.set_position(Some(position));
            }
            nodes.push(node);
        }
        Item::Value(toml_edit::Value::Array(nodes)) => nodes.push(node.into_inline_table()),
        _ => return fail("`node` is not a list of tables"),
    }
    for (network, address) in addresses {
        let mut changed = false;
        each_network(&mut document, |table| {
            if table.get("name").and_then(Item::as_str) != Some(network.as_str()) {
                return Ok(());
            }
            let Some(nodes) = table.get_mut("nodes").and_then(Item::as_table_like_mut) else {
                return fail(format!("network {network} has no table `nodes`"));
            };
            nodes.insert(name, value(address.as_str()));
            if let Some(nodes) = table.get_mut("nodes").and_then(Item::as_inline_table_mut) {
                space(nodes);
            }
            changed = true;
            Ok(())
        })?;
        if !changed {
            return fail(format!("there is no network {network}"));
        }
    }
    Ok(document.to_string())
}

/// The text without node `name`: not in the list of nodes, nor in networks and services.
///
/// # Errors
/// When the text is not TOML, has no such node, or a service would be left without a node.
pub fn remove_node(text: &str, name: &str) -> Result<String, EditError> {
    let mut document = read(text)?;
    let is_named = |table: &dyn TableLike| table.get("name").and_then(Item::as_str) == Some(name);
    let before = count(&document, "node");
    match document.get_mut("node") {
        Some(Item::ArrayOfTables(nodes)) => nodes.retain(|node| !is_named(node)),
        Some(Item::Value(toml_edit::Value::Array(nodes))) => {
            nodes.retain(|node| !node.as_inline_table().is_some_and(|node| is_named(node)));
        }
        _ => return fail("`node` is not a list of tables"),
    }
    if count(&document, "node") == before {
        return fail(format!("there is no node {name}"));
    }
    each_network(&mut document, |table| {
        let Some(nodes) = table.get_mut("nodes") else { return Ok(()) };
        if let Some(nodes) = nodes.as_table_like_mut() {
            nodes.remove(name);
        }
        if let Some(nodes) = nodes.as_inline_table_mut() {
            space(nodes);
        }
        Ok(())
    })?;
    each(&mut document, "service", |table| {
        let service = table.get("name").and_then(Item::as_str).unwrap_or_default().to_owned();
        let Some(nodes) = table.get_mut("nodes").and_then(Item::as_array_mut) else {
            return Ok(());
        };
        nodes.retain(|node| node.as_str() != Some(name));
        if nodes.is_empty() {
            return fail(format!("service {service} would have no node left: change it first"));
        }
        tidy(nodes);
        Ok(())
    })?;
    Ok(document.to_string())
}

fn read(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError(error.message().to_owned()))
}

fn count(document: &DocumentMut, key: &str) -> usize {
    match document.get(key) {
        Some(Item::ArrayOfTables(tables)) => tables.len(),
        Some(Item::Value(toml_edit::Value::Array(tables))) => tables.len(),
        _ => 0,
    }
}

/// The first element of an array stands without a blank in front.
fn tidy(array: &mut Array) {
    if let Some(first) = array.get_mut(0) {
        first.decor_mut().set_prefix("");
    }
}

/// In `{ a = 1, b = 2 }` the blank at the end belongs to the last value: it does not move along.
fn space(table: &mut InlineTable) {
    let last = table.len().saturating_sub(1);
    for (index, (_, value)) in table.iter_mut().enumerate() {
        value.decor_mut().set_suffix(if index == last { " " } else { "" });
    }
}

fn each_network(
    document: &mut DocumentMut,
    change: impl FnMut(&mut dyn TableLike) -> Result<(), EditError>,
) -> Result<(), EditError> {
    each(document, "network", change)
}

fn each(
    document: &mut DocumentMut,
    key: &str,
    mut change: impl FnMut(&mut dyn TableLike) -> Result<(), EditError>,
) -> Result<(), EditError> {
    match document.get_mut(key) {
        None => Ok(()),
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter_mut().try_for_each(|table| change(table as &mut dyn TableLike))
        }
        Some(Item::Value(toml_edit::Value::Array(tables))) => tables
            .iter_mut()
            .filter_map(toml_edit::Value::as_inline_table_mut)
            .try_for_each(|table: &mut InlineTable| change(table as &mut dyn TableLike)),
        Some(_) => fail(format!("`{key}` is not a list of tables")),
    }
}
