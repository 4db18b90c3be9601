//! Documents as agents print them.

use super::*;

const DOCUMENT: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_ipmilan" shortdesc="Fence agent for IPMI">
<parameters>
	<parameter name="ip" unique="0" required="1" obsoletes="ipaddr">
		<getopt mixed="-a, --ip=[ip]"/>
	</parameter>
	<parameter unique='0' name='password'/>
	<parameterless name="nothing"/>
	<parameter required="1">
</parameters>
<actions>
	<action name="on" automatic="0"/>
	<action name="status"/>
</actions>
"#;

#[test]
fn options_and_actions_are_found_and_nothing_else() {
    let metadata = parse(DOCUMENT);
    let options: Vec<&str> = metadata.options.iter().map(String::as_str).collect();
    assert_eq!(options, ["ip", "password"]);
    let actions: Vec<&str> = metadata.actions.iter().map(String::as_str).collect();
    assert_eq!(actions, ["on", "status"]);
}

#[test]
fn what_is_no_document_has_no_options() {
    for text in
        ["", "<parameter", "<parameter name", "<parameter name=", "<parameter name=\"x", "ü"]
    {
        assert_eq!(parse(text), Metadata::default(), "{text}");
    }
}
