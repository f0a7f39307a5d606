//! Filters of type `CORS` (GEP-1767, the Fetch standard's protocol): which pages of other origins may read answers. Pure.

use super::hostnames::fits;
use super::types::CorsPolicy;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// How long browsers remember what they were told, in seconds, unless a policy says it (the API's default).
const MAX_AGE: u32 = 5;

/// A policy made ready.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    /// Whether pages may send cookies and passwords along.
    credentials: bool,
    methods: Listed,
    headers: Listed,
    exposed: Listed,
    max_age: HeaderValue,
}

#[derive(Clone, Debug)]
enum Origins {
    Any,
    These(Vec<Origin>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    /// A name, or a wildcard and the end of names.
    host: String,
    port: Option<u16>,
}

/// Names as a header lists them.
#[derive(Clone, Debug)]
enum Listed {
    None,
    Any,
    These(HeaderValue),
}

impl Cors {
    /// Reads a policy.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub fn read(policy: &CorsPolicy) -> Result<Self, String> {
        let origins = if policy.allow_origins.iter().any(|origin| origin == "*") {
            Origins::Any
        } else {
            let wrong = |text: &String| format!("{text:?} is no origin");
            let read = |text: &String| Origin::pattern(text).ok_or_else(|| wrong(text));
            Origins::These(policy.allow_origins.iter().map(read).collect::<Result<_, _>>()?)
        };
        Ok(Self {
            origins,
            credentials: policy.allow_credentials,
            methods: Listed::read(&policy.allow_methods)?,
            headers: Listed::read(&policy.allow_headers)?,
            exposed: Listed::read(&policy.expose_headers)?,
            max_age: policy.max_age.unwrap_or(MAX_AGE).into(),
        })
    }

    /// The headers of the answer to a browser that asks beforehand (preflight); none when the request is another one.
    pub fn preflight(&self, method: &Method, asked: &HeaderMap) -> Option<HeaderMap> {
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
        let origin = asked.get(ORIGIN)?;
        let mut answer = HeaderMap::new();
        if self.admit(Some(origin), &mut answer) {
            let mut tell = |name: HeaderName, listed: &Listed, asked: Option<&HeaderValue>| {
                let value = match listed {
                    Listed::None => None,
                    // The wildcard means nothing where credentials are.
                    Listed::Any if self.credentials => asked.cloned(),
                    Listed::Any => Some(any()),
                    Listed::These(names) => Some(names.clone()),
                };
                value.map(|value| answer.insert(name, value))
            };
            tell(ACCESS_CONTROL_ALLOW_METHODS, &self.methods, Some(wanted));
            tell(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, asked.get(ACCESS_CONTROL_REQUEST_HEADERS));
            answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some(answer)
    }

    /// Tells the browser whether a page of an origin may read an answer. What the endpoint says of that is not passed on.
    pub fn apply(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            answer.remove(name);
        }
        let exposed = match &self.exposed {
            Listed::None => None,
            Listed::Any if self.credentials => {
                let names: Vec<&str> = answer.keys().map(HeaderName::as_str).collect();
                HeaderValue::from_str(&names.join(", ")).ok()
            }
            Listed::Any => Some(any()),
            Listed::These(names) => Some(names.clone()),
        };
        if self.admit(origin, answer)
            && let Some(exposed) = exposed
        {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Names an origin in an answer if its pages may read it; answers whether they may.
    fn admit(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) -> bool {
        let anybody = matches!(self.origins, Origins::Any) && !self.credentials;
        if !anybody {
            // What is said to one origin is not for another one.
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return false };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, if anybody { any() } else { origin.clone() });
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::These(patterns) => {
                let origin = origin.to_str().ok().and_then(Origin::parse);
                origin.is_some_and(|origin| patterns.iter().any(|pattern| pattern.fits(&origin)))
            }
        }
    }
}

fn any() -> HeaderValue {
    HeaderValue::from_static("*")
}

impl Listed {
    fn read(names: &[String]) -> Result<Self, String> {
        if names.is_empty() {
            return Ok(Self::None);
        }
        if names.iter().any(|name| name == "*") {
            return Ok(Self::Any);
        }
        let all = names.join(", ");
        HeaderValue::from_str(&all).map(Self::These).map_err(|_| format!("{all:?} is no value of a header"))
    }
}

impl Origin {
    /// `SCHEME://HOST[:PORT]`; a port that goes without saying is said.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (rest, None),
        };
        let usual = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        (!host.is_empty()).then(|| Self { scheme, host: host.to_ascii_lowercase(), port: port.or(usual) })
    }

    /// One that may begin with a wildcard.
    fn pattern(text: &str) -> Option<Self> {
        Self::parse(text).filter(|origin| !origin.host.trim_start_matches('*').contains('*'))
    }

    fn fits(&self, origin: &Self) -> bool {
        (&self.scheme, self.port) == (&origin.scheme, origin.port) && fits(&self.host, &origin.host).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cors(policy: Value) -> Cors {
        Cors::read(&serde_json::from_value(policy).unwrap()).unwrap()
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn sorted(headers: &HeaderMap) -> Vec<String> {
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    /// What a page of an origin is told that wants to send a request.
    fn preflight(cors: &Cors, origin: &str) -> Vec<String> {
        let asked = headers(&[
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-a, x-b"),
        ]);
        sorted(&cors.preflight(&Method::OPTIONS, &asked).unwrap())
    }

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let cors = cors(json!({"allowOrigins":
            ["https://a.example", "http://*.b.example:8080", "https://*:8443", "https://[::1]"]}));
        for (origin, allowed) in [
            ("https://a.example", true),
            ("https://A.example:443", true),
            ("http://a.example", false),
            ("https://a.example:444", false),
            ("https://x.a.example", false),
            ("http://x.y.b.example:8080", true),
            ("http://b.example:8080", false),
            ("http://x.b.example", false),
            ("https://any.where:8443", true),
            ("https://[::1]:443", true),
            ("null", false),
            ("https://", false),
            ("https://a.example:x", false),
        ] {
            assert_eq!(cors.allows(&origin.parse().unwrap()), allowed, "{origin}");
        }
        for wrong in ["a.example", "https://a.*.example", "https://:80", "https://a:99999"] {
            let policy = CorsPolicy { allow_origins: vec![wrong.to_owned()], ..CorsPolicy::default() };
            assert!(Cors::read(&policy).is_err(), "{wrong}");
        }
    }

    #[test]
    fn browsers_that_ask_beforehand_are_told_what_is_allowed() {
        let some = cors(json!({"allowOrigins": ["https://a.example"], "allowCredentials": true,
            "allowMethods": ["PUT", "DELETE"], "allowHeaders": ["x-a"], "exposeHeaders": ["x-c"], "maxAge": 60}));
        assert_eq!(
            preflight(&some, "https://a.example"),
            [
                "access-control-allow-credentials: true",
                "access-control-allow-headers: x-a",
                "access-control-allow-methods: PUT, DELETE",
                "access-control-allow-origin: https://a.example",
                "access-control-max-age: 60",
                "vary: origin"
            ]
        );
        assert_eq!(preflight(&some, "https://b.example"), ["vary: origin"]);
        let other = headers(&[("origin", "https://a.example")]);
        assert!(some.preflight(&Method::OPTIONS, &other).is_none(), "any request with this method");
        let get = headers(&[("origin", "https://a.example"), ("access-control-request-method", "PUT")]);
        assert!(some.preflight(&Method::GET, &get).is_none());
    }

    #[test]
    fn wildcards_are_spelt_out_where_there_are_credentials() {
        let mut policy = json!({"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"],
            "exposeHeaders": ["*"]});
        let open = cors(policy.clone());
        assert_eq!(
            preflight(&open, "https://a.example"),
            [
                "access-control-allow-headers: *",
                "access-control-allow-methods: *",
                "access-control-allow-origin: *",
                "access-control-max-age: 5"
            ]
        );
        policy["allowCredentials"] = json!(true);
        let trusting = cors(policy);
        assert_eq!(
            preflight(&trusting, "https://a.example"),
            [
                "access-control-allow-credentials: true",
                "access-control-allow-headers: x-a, x-b",
                "access-control-allow-methods: PUT",
                "access-control-allow-origin: https://a.example",
                "access-control-max-age: 5",
                "vary: origin"
            ]
        );
        let mut answer = headers(&[("x-own", "1")]);
        trusting.apply(Some(&HeaderValue::from_static("https://a.example")), &mut answer);
        assert_eq!(answer["access-control-expose-headers"], "x-own");
    }

    #[test]
    fn answers_say_what_the_policy_says_and_not_what_the_endpoint_does() {
        let cors = cors(json!({"allowOrigins": ["https://a.example"], "exposeHeaders": ["x-c"]}));
        let told = |origin: &str| {
            let mut answer = headers(&[
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
                ("vary", "accept"),
            ]);
            cors.apply(Some(&origin.parse().unwrap()), &mut answer);
            sorted(&answer)
        };
        assert_eq!(
            told("https://a.example"),
            [
                "access-control-allow-origin: https://a.example",
                "access-control-expose-headers: x-c",
                "vary: accept",
                "vary: origin"
            ]
        );
        assert_eq!(told("https://b.example"), ["vary: accept", "vary: origin"]);
    }
}
