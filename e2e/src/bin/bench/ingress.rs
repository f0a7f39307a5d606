//! The ingress add-on beside nginx as a reverse proxy, both in front of the same server.

use crate::Report;
use crate::nginx::Nginx;
use crate::wrk::{self, Load, Outcome};
use anyhow::Result;
use e2e::node::Node;
use serde_json::json;
use std::time::Duration;

/// Clients, each on a connection of its own.
const CLIENTS: usize = 16;
/// How long each of them is measured.
const ASKING: Duration = Duration::from_secs(5);
/// What is served.
const CONTENT: [u8; 1024] = [b'x'; 1024];
/// Where the server behind both listens, and where it does over TLS, which nobody uses.
const BACKEND_PORT: u16 = 9000;
const BACKEND_TLS_PORT: u16 = 9001;

/// Answers per second over HTTP and HTTPS, of both in pods of the same means.
pub fn measure(node: &Node, report: &mut Report) -> Result<()> {
    let address = &node.machine.address;
    let backend = format!(
        "server {{ listen {BACKEND_PORT}; listen {BACKEND_TLS_PORT} ssl; CERTIFICATE\n\
         keepalive_requests 1000000; root FOLDER; access_log off; }}"
    );
    let _backend = Nginx::start(node, &CONTENT, &backend, &format!("{address}:{BACKEND_TLS_PORT}"))?;
    node.run("enable ingress")?;
    let pki = node.data_dir().join("pki");
    let files = format!("--cert={0}/apiserver.crt --key={0}/apiserver.key", pki.display());
    node.kubectl(&format!("create secret tls nginx {files}"))?;
    node.apply(&OBJECTS.replace("ADDRESS", address).replace("PORT", &BACKEND_PORT.to_string()))?;
    let servers = [("own", 80, 443), ("nginx", 9080, 9443)];
    for (_, port, _) in servers {
        let routed = format!("curl -sf --max-time 2 http://{address}:{port}/content");
        node.eventually("the route", || node.machine.shell(&routed).map(drop))?;
    }
    for (server, plain, secure) in servers {
        for (scheme, port) in [("http", plain), ("https", secure)] {
            let load = load(node, &format!("{scheme}://{address}:{port}"))?;
            let told = json!({"per_second": load.per_second, "p50_ms": load.p50, "p99_ms": load.p99});
            report.insert(format!("ingress_{scheme}_{server}"), told);
        }
    }
    Ok(())
}

fn load(node: &Node, server: &str) -> Result<Outcome> {
    let url = format!("{server}/content");
    wrk::run(node, None, &Load { url: &url, body: None, connections: CLIENTS, lasting: ASKING })
}

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: backend}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
endpoints: [{addresses: [ADDRESS], conditions: {ready: true}}]
ports: [{port: PORT, name: ''}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: backend}
spec:
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: backend, port: {number: 80}}}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nginx}
data:
  nginx.conf: |
    daemon off;
    user root;
    worker_processes auto;
    pid /run/nginx.pid;
    error_log /dev/stderr;
    events {}
    http {
      access_log /dev/stdout;
      client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
      uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
      upstream backend { server ADDRESS:PORT; keepalive 64; }
      server {
        listen 80; listen 443 ssl; keepalive_requests 1000000;
        ssl_certificate /tls/tls.crt; ssl_certificate_key /tls/tls.key;
        location / {
          proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection '';
          proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
          proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $host;
          proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-ID $request_id;
        }
      }
    }
---
apiVersion: v1
kind: Pod
metadata: {name: nginx}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: nginx
    image: nginx
    imagePullPolicy: IfNotPresent
    command: [/usr/sbin/nginx, -c, /conf/nginx.conf]
    ports: [{containerPort: 80, hostPort: 9080}, {containerPort: 443, hostPort: 9443}]
    resources: {requests: {cpu: 20m, memory: 20Mi}, limits: {memory: 512Mi}}
    volumeMounts: [{name: conf, mountPath: /conf}, {name: tls, mountPath: /tls}]
  volumes: [{name: conf, configMap: {name: nginx}}, {name: tls, secret: {secretName: nginx}}]
";
