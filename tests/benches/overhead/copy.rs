//! The plain copy: TCP with TLS 1.3, one thread for each end of each connection.

use journeys::simulated::Setup;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Sends a file to every site and gets it back from each; gives the seconds.
pub(crate) fn there_and_back(setup: &Setup, model: &Path) -> f64 {
    let pki = setup.folder.join("pki");
    let (server, client) = (Arc::new(server(&pki)), Arc::new(client(&pki)));
    let listener = TcpListener::bind((setup.address.ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let folder = setup.folder.join("copies");
    std::fs::create_dir(&folder).unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for name in &setup.names {
            let (client, there) = (client.clone(), folder.join(name));
            scope.spawn(move || echo(address, client, &there));
        }
        for number in 0..setup.names.len() {
            let (stream, _) = listener.accept().unwrap();
            let (server, back) = (server.clone(), folder.join(format!("back-{number}")));
            scope.spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(server).unwrap(), stream);
                send(&mut stream, model);
                receive(&mut stream, &back, model.metadata().unwrap().len());
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(folder).unwrap();
    seconds
}

fn echo(address: SocketAddr, config: Arc<ClientConfig>, file: &Path) {
    let name = ServerName::from(address.ip());
    let tcp = TcpStream::connect(address).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp);
    let mut length = [0; 8];
    stream.read_exact(&mut length).unwrap();
    receive(&mut stream, file, u64::from_le_bytes(length));
    send_bytes(&mut stream, file);
}

fn send(stream: &mut impl Write, file: &Path) {
    stream
        .write_all(&file.metadata().unwrap().len().to_le_bytes())
        .unwrap();
    send_bytes(stream, file);
}

fn send_bytes(stream: &mut impl Write, file: &Path) {
    let mut file = File::open(file).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            read => stream.write_all(&buffer[..read]).unwrap(),
        }
    }
    stream.flush().unwrap();
}

fn receive(stream: &mut impl Read, path: &Path, bytes: u64) {
    let mut file = File::create(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the copy broke off");
        file.write_all(&buffer[..read]).unwrap();
        left -= read as u64;
    }
    file.sync_all().unwrap();
}

fn server(pki: &Path) -> ServerConfig {
    let folder = pki.join("coordinator");
    let chain = chain(&folder.join("certificate.pem"));
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13]);
    builder
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

fn client(pki: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    chain(&pki.join("coordinator/ca.pem"))
        .into_iter()
        .for_each(|certificate| roots.add(certificate).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13]);
    builder
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}
