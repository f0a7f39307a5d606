//! The libraries that Kubernetes adds to the language.

mod common;

use common::check;

#[test]
fn strings() {
    check(&[
        ("s.charAt(1)", r#""é""#),
        ("s.charAt(5)", r#""""#),
        ("s.charAt(6)", "error: index out of range: 6"),
        ("'hello mellow'.indexOf('ello') * 100 + 'hello mellow'.indexOf('ello', 2)", "107"),
        ("'hello'.indexOf('')", "0"),
        ("'hello mellow'.lastIndexOf('ello') * 100 + 'hello mellow'.lastIndexOf('ello', 6)", "701"),
        ("'hello'.lastIndexOf('')", "5"),
        ("'hello'.lastIndexOf('h', -1)", "error: index out of range: -1"),
        ("['a', 'b'].join() + ['a', 'b'].join('-')", r#""aba-b""#),
        ("'TacoCÆt'.lowerAscii() + 'tacoCæt'.upperAscii()", r#""tacocÆtTACOCæT""#),
        ("'  a\\t\\n'.trim()", r#""a""#),
        (
            "'hello hello'.replace('he', 'we') + 'aaa'.replace('a', 'b', 2) + 'a'.replace('a', 'b', 0)",
            r#""wello wellobbaa""#,
        ),
        ("'ab'.replace('', '-')", r#""-a-b-""#),
        ("'a b c'.split(' ')", r#"["a","b","c"]"#),
        ("'a b c'.split(' ', 2)", r#"["a","b c"]"#),
        ("'a b'.split(' ', 0)", "[]"),
        ("'abc'.split('')", r#"["a","b","c"]"#),
        ("s.substring(1) + s.substring(0, 2)", r#""éllohé""#),
        ("s.substring(2, 1)", "error: invalid substring range. start: 2, end: 1"),
        ("s.substring(9)", "error: index out of range: 9"),
        ("strings.quote('a\"b\\n')", r#""\"a\\\"b\\n\"""#),
        ("'abc 123 4'.find('[0-9]+') + 'abc'.find('x')", r#""123""#),
        ("'1 22 333'.findAll('[0-9]+')", r#"["1","22","333"]"#),
        ("'1 22 333'.findAll('[0-9]+', 2)", r#"["1","22"]"#),
        ("s.reverse()", "compile: found no matching overload for 'reverse' applied to 'string.()'"),
    ]);
}

#[test]
fn formatting() {
    check(&[
        ("'%s is %d, %s'.format([dyn('a'), 42, true])", r#""a is 42, true""#),
        ("'%%'.format([])", r#""%""#),
        ("'%f %.2f'.format([3.14159, 1234.5])", r#""3.141590 1,234.50""#),
        ("'%e'.format([2.71828])", "\"2.718280\u{202f}×\u{202f}10⁰⁰\""),
        ("'%b %x %X %o'.format([dyn(5), 26, 'hi', 8])", r#""101 1a 6869 10""#),
        ("'%s'.format([[1, 2.5, 'x', {'k': null}]])", "compile: expected type 'int' but found 'double'"),
        ("'%s'.format([dyn([dyn(1), 2.5, 'x', {'k': null}])])", r#""[1, 2.500000, \"x\", {\"k\":null}]""#),
        (
            "'%s %s'.format([duration('1h'), timestamp('2023-01-01T00:00:00Z')])",
            "compile: expected type 'duration' but found 'timestamp'",
        ),
        ("'%s'.format([duration('1h')])", r#""3600s""#),
        ("s.format([1, 'x'])", "compile: expected type 'int' but found 'string'"),
        (
            "dyn('%y').format([1])",
            "error: could not parse formatting clause: unrecognized formatting clause \"y\"",
        ),
        (
            "'%d'.format([dyn('a')])",
            "error: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("dyn('%d %d').format([1])", "error: index 1 out of range"),
        ("dyn('%').format([])", "error: index 0 out of range"),
        ("dyn('%s').format([1, 2])", r#""1""#),
    ]);
}

#[test]
fn a_format_and_its_arguments_are_compared_when_they_are_compiled() {
    let misuse = |what: &str| format!("compile: error during formatting: {what}");
    let plain = |what: &str| format!("compile: {what}");
    let decimal = "decimal clause can only be used on integers, was given string";
    let hex = "only integers, byte buffers, and strings can be formatted as hex, was given";
    let string = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                  durations, and timestamps, was given";
    let precision = "compile: could not parse formatting clause: error while parsing precision:";
    let number = format!("{precision} error while converting precision to integer: strconv.Atoi: parsing");
    let binary = "only integers and bools can be formatted as binary, was given google.protobuf.Timestamp";
    let table = [
        ("'%d'.format(['a'])", misuse(decimal)),
        ("'%d'.format([x])", r#""5""#.to_owned()),
        ("'%f'.format([x])", misuse("fixed-point clause can only be used on doubles, was given int")),
        ("'%e'.format([l])", misuse("scientific clause can only be used on doubles, was given list")),
        ("'%b'.format([t])", misuse(binary)),
        ("'%x'.format([m])", misuse(&format!("{hex} map"))),
        ("'%X'.format([null])", misuse(&format!("{hex} null_type"))),
        ("'%o'.format([true])", misuse("octal clause can only be used on integers, was given bool")),
        ("'%s'.format([quantity('1')])", misuse(&format!("{string} kubernetes.Quantity"))),
        ("'%s'.format([[[m[?'one']]]])", misuse(&format!("{string} optional_type"))),
        ("'%s'.format([{'a': quantity('1')}])", misuse(&format!("{string} kubernetes.Quantity"))),
        ("'%d %d'.format([1])", plain("index 1 out of range")),
        ("'%d'.format([1, 2])", plain("too many arguments supplied to string.format (expected 1, got 2)")),
        ("'%'.format([])", plain("unexpected end of string")),
        ("'%y'.format([1])", {
            plain("could not parse formatting clause: unrecognized formatting clause \"y\"")
        }),
        ("'%.f'.format([1.0])", format!("{number} \"\": invalid syntax")),
        ("'%.3'.format([1.0])", format!("{precision} could not find end of precision specifier")),
        ("'%.100000f'.format([1.0])", format!("{number} \"100000\": value out of range")),
        ("l.all(i, '%d'.format([s]) == '')", misuse(decimal)),
    ];
    check(&table.each_ref().map(|(source, expected)| (*source, expected.as_str())));
}

#[test]
fn lists_and_sets() {
    check(&[
        ("[1, 2].isSorted() && !l.isSorted() && ['a', 'b'].isSorted()", "true"),
        ("l.sum() + l.min() * 10 + l.max() * 100", "316"),
        ("[1.5, 2.5].sum()", "4.0"),
        ("[duration('1m'), duration('1s')].sum()", r#""61s""#),
        ("l.filter(i, i > 9).sum()", "0"),
        ("l.filter(i, i > 9).max()", "error: max called on empty list"),
        ("[1, 2, 1].indexOf(1) * 10 + [1, 2, 1].lastIndexOf(1)", "2"),
        ("[1].indexOf(5)", "-1"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2,3]"),
        ("[1].slice(0, 2)", "error: cannot slice(0, 2), list is length 1"),
        ("[[1], [2, 3]].flatten()", "[1,2,3]"),
        ("[dyn(1), [2, [3]]].flatten(2)", "compile: expected type 'int' but found 'list(int)'"),
        ("dyn([dyn(1), dyn([2])]).flatten(1)", "[1,2]"),
        ("l.sort()", "[1,2,3]"),
        ("['b', 'a'].sort()", r#"["a","b"]"#),
        ("l.sortBy(i, -i)", "[3,2,1]"),
        ("[[1]].sort()", "compile: found no matching overload for 'sort' applied to 'list(list(int)).()'"),
        ("[1, 2, 1, 2].distinct()", "[1,2]"),
        ("l.reverse()", "[2,1,3]"),
        ("lists.range(3)", "[0,1,2]"),
        ("lists.range(-1)", "error: lists.range: size must be non-negative, got -1"),
        ("sets.contains([1, 2, 3], [2, 2]) && !sets.contains([1], [2])", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1]) && !sets.equivalent([1], [1, 2])", "true"),
        ("sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [])", "true"),
    ]);
}

#[test]
fn urls() {
    let url = "url('https://user:pw@example.com:8080/a%20b/c?k=1&k=2&e=%41+b')";
    let cases = [
        (format!("{url}.getScheme()"), r#""https""#),
        (format!("{url}.getHost()"), r#""example.com:8080""#),
        (format!("{url}.getHostname()"), r#""example.com""#),
        (format!("{url}.getPort()"), r#""8080""#),
        (format!("{url}.getEscapedPath()"), r#""/a%20b/c""#),
        (format!("{url}.getQuery()"), r#"{"e":["A b"],"k":["1","2"]}"#),
        (
            "url('http://[::1]:80/').getHostname() + url('/only/path').getEscapedPath()".to_owned(),
            r#""::1/only/path""#,
        ),
        (
            "isURL('https://example.com') && isURL('/path') && !isURL('example.com') && !isURL('../x')"
                .to_owned(),
            "true",
        ),
        (
            "url('https://a:b/')".to_owned(),
            "error: URL parse error during conversion from string: parse \"https://a:b/\": invalid port \":b\" after host",
        ),
        ("isURL('https://a/%zz') || isURL('') || isURL(':a') || isURL('http://a b/')".to_owned(), "false"),
        ("url('http://a/') == url('http://a/')".to_owned(), "true"),
    ];
    let table: Vec<(&str, &str)> =
        cases.iter().map(|(source, expected)| (source.as_str(), *expected)).collect();
    check(&table);
}

#[test]
fn quantities() {
    check(&[
        ("quantity('1.5Gi').compareTo(quantity('1536Mi'))", "0"),
        ("quantity('1') == quantity('1000m')", "true"),
        ("quantity('50k').asInteger() + quantity('-3').sign()", "49999"),
        ("quantity('50m').isInteger()", "false"),
        ("quantity('50m').asInteger()", "error: cannot convert value to integer"),
        ("quantity('50m').asApproximateFloat()", "0.05"),
        ("quantity('1Gi').add(quantity('1Gi')).isGreaterThan(quantity('2G'))", "true"),
        ("quantity('10').sub(3).add(1).asInteger()", "8"),
        ("quantity('1').isLessThan(quantity('2')) && isQuantity('1Ki') && !isQuantity('1x')", "true"),
        (
            "quantity('abc')",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ]);
}

#[test]
fn addresses_and_networks() {
    check(&[
        ("ip('10.0.0.1').family() * 10 + ip('::1').family()", "46"),
        (
            "isIP('1.2.3.4') && isIP('fe80::1') && !isIP('1.2.3') && !isIP('01.2.3.4') && !isIP('::ffff:1.2.3.4')",
            "true",
        ),
        ("ip('fe80::1%eth0')", "error: IP address \"fe80::1%eth0\" with zone value is not allowed"),
        ("ip.isCanonical('::1') && !ip.isCanonical('0:0:0:0:0:0:0:1')", "true"),
        (
            "ip('127.0.0.1').isLoopback() && ip('0.0.0.0').isUnspecified() && ip('169.254.1.1').isLinkLocalUnicast()",
            "true",
        ),
        ("ip('224.0.0.5').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast()", "true"),
        ("ip('8.8.8.8').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()", "true"),
        ("string(ip('0::1'))", r#""::1""#),
        ("ip('::1') == ip('0::1')", "true"),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", "true"),
        ("string(cidr('10.1.2.3/8').masked())", r#""10.0.0.0/8""#),
        (
            "cidr('10.0.0.0/8').containsIP('10.2.3.4') && cidr('10.0.0.0/8').containsIP(ip('10.2.3.4'))",
            "true",
        ),
        ("cidr('10.0.0.0/8').containsIP('11.2.3.4') || cidr('10.0.0.0/8').containsIP('::1')", "false"),
        (
            "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
            "true",
        ),
        ("cidr('0.0.0.0/0').containsIP('1.2.3.4') && cidr('::/0').containsIP('::1')", "true"),
        ("string(cidr('10.1.2.3/8').ip()) + string(cidr('::/64').prefixLength())", r#""10.1.2.364""#),
        (
            "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0/08')",
            "true",
        ),
        ("type(ip('::1')) == net.IP", "true"),
    ]);
}

#[test]
fn versions() {
    check(&[
        ("semver('1.2.3').major() * 100 + semver('1.2.3').minor() * 10 + semver('1.2.3').patch()", "123"),
        (
            "semver('1.0.0-alpha.1').isLessThan(semver('1.0.0-alpha.beta')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc.1'))",
            "true",
        ),
        ("semver('1.0.0-2').compareTo(semver('1.0.0-11'))", "-1"),
        ("semver('1.0.0+a') == semver('1.0.0+b')", "true"),
        ("isSemver('1.0.0') && !isSemver('v1.0') && !isSemver('01.0.0') && isSemver('v1.0', true)", "true"),
        ("semver('v01.1', true).compareTo(semver('1.1.0'))", "0"),
        ("semver('1.0')", "error: No Major.Minor.Patch elements found"),
    ]);
}

#[test]
fn named_formats() {
    check(&[
        ("format.dns1123Label().validate('my-name')", "none"),
        ("format.dns1123Label().validate('My.Name').value().size() > 0", "true"),
        ("format.dns1123LabelPrefix().validate('my-')", "none"),
        ("format.named('qualifiedName').value().validate('example.com/name')", "none"),
        ("format.named('nothing')", "none"),
        ("format.uuid().validate('123e4567-e89b-12d3-a456-426614174000')", "none"),
        ("format.uuid().validate('x').value()", r#"["does not match the UUID format"]"#),
        ("format.date().validate('2021-02-30').value()", r#"["invalid date"]"#),
        ("format.datetime().validate('2021-01-01T00:00:00Z')", "none"),
        ("format.byte().validate('aGVsbG8=')", "none"),
        ("format.uri().validate('nope').value()", r#"["parse \"nope\": invalid URI for request"]"#),
    ]);
}

#[test]
fn optional_libraries() {
    check(&[
        ("math.greatest(1, 5, 3) * 10 + math.least([4, 2])", "52"),
        ("math.ceil(1.2) + math.floor(1.8) + math.round(1.5) + math.trunc(-1.7)", "4.0"),
        ("math.abs(-3) + math.sign(-5)", "2"),
        ("math.bitAnd(6, 3) + math.bitOr(4, 1) + math.bitShiftLeft(1, 3)", "15"),
        ("math.bitShiftLeft(1, -1)", "error: math.bitShiftLeft() negative offset: -1"),
        ("base64.encode(b'hello') + string(base64.decode('aGVsbG8'))", r#""aGVsbG8=hello""#),
        ("jsonpatch.escapeKey('a/b~c')", r#""a~1b~0c""#),
        (
            "JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}",
            r#"{"op":"add","path":"/metadata/labels","value":{"a":"b"}}"#,
        ),
        ("JSONPatch{op: 1}", "compile: expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{what: 1}", "compile: undefined field 'what'"),
        ("Object{spec: Object.spec{replicas: 3, ?paused: optional.none()}}", r#"{"spec":{"replicas":3}}"#),
        ("Object{spec: Object.spec{replicas: 3}}.spec.replicas", "3"),
        ("type(Object.spec{a: 1})", "type Object.spec"),
        ("Other{a: 1}", "compile: undeclared reference to 'Other' (in container '')"),
        ("int{a: 1}", "compile: 'int' is not a message type"),
    ]);
}
