package dev.imago.nbd;

import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import java.util.List;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;
import org.jspecify.annotations.Nullable;

/**
 * Who one end of a TLS connection is, and whom it trusts: X.509 certificates, TLS 1.2 or 1.3.
 *
 * <p>Certificates lie in a folder, named as QEMU and nbdkit have them: {@code ca-cert.pem}, {@code
 * server-cert.pem}, {@code server-key.pem}, {@code client-cert.pem}, {@code client-key.pem}. They
 * are PEM; private keys are PKCS#8 or, for RSA, PKCS#1, without a passphrase. They are read once,
 * when this object is made.
 *
 * <p>Pre-shared keys (PSK) are not supported: the JDK's TLS does not know them.
 */
public final class NbdTls {
  private static final char[] NO_PASSWORD = {};

  private final SSLContext context;
  private final boolean verifyPeer;

  private NbdTls(SSLContext context, boolean verifyPeer) {
    this.context = context;
    this.verifyPeer = verifyPeer;
  }

  /**
   * A client that trusts the authorities in {@code ca-cert.pem}, and that shows {@code
   * client-cert.pem} to servers that ask, if it is there.
   *
   * @throws IOException if a file is missing or damaged; the message names it
   */
  public static NbdTls client(Path folder) throws IOException {
    return new NbdTls(context(clientKeys(folder), trusting(folder.resolve("ca-cert.pem"))), true);
  }

  /** A client that trusts what the JDK trusts, and has no certificate of its own. */
  public static NbdTls client() throws IOException {
    return new NbdTls(context(null, null), true);
  }

  /**
   * A client that talks to any server: what it sends cannot be read on the way, but whoever answers
   * may be anybody.
   *
   * @param folder for {@code client-cert.pem} and its key, or null
   */
  public static NbdTls unverifiedClient(@Nullable Path folder) throws IOException {
    KeyManager[] keys = folder == null ? null : clientKeys(folder);
    return new NbdTls(context(keys, new TrustManager[] {new Anybody()}), false);
  }

  /**
   * A server that shows {@code server-cert.pem}.
   *
   * @param verifyPeer whether only clients are let in that have a certificate of an authority in
   *     {@code ca-cert.pem}, which is not read otherwise
   * @throws IOException if a file is missing or damaged; the message names it
   */
  public static NbdTls server(Path folder, boolean verifyPeer) throws IOException {
    KeyManager[] keys = keys(folder.resolve("server-cert.pem"), folder.resolve("server-key.pem"));
    TrustManager[] trust = verifyPeer ? trusting(folder.resolve("ca-cert.pem")) : null;
    return new NbdTls(context(keys, trust), verifyPeer);
  }

  /**
   * The engine of one connection to a server.
   *
   * @param host the name or address that the server's certificate must be for; null checks the
   *     certificate alone, as over a Unix socket
   */
  SSLEngine clientEngine(@Nullable String host) {
    SSLEngine engine = host == null ? context.createSSLEngine() : context.createSSLEngine(host, -1);
    engine.setUseClientMode(true);
    SSLParameters parameters = parameters(engine);
    if (verifyPeer && host != null) {
      parameters.setEndpointIdentificationAlgorithm("HTTPS");
    }
    engine.setSSLParameters(parameters);
    return engine;
  }

  /** The engine of one connection from a client. */
  SSLEngine serverEngine() {
    SSLEngine engine = context.createSSLEngine();
    engine.setUseClientMode(false);
    SSLParameters parameters = parameters(engine);
    parameters.setNeedClientAuth(verifyPeer);
    engine.setSSLParameters(parameters);
    return engine;
  }

  private static SSLParameters parameters(SSLEngine engine) {
    SSLParameters parameters = engine.getSSLParameters();
    parameters.setProtocols(new String[] {"TLSv1.3", "TLSv1.2"});
    return parameters;
  }

  private static KeyManager @Nullable [] clientKeys(Path folder) throws IOException {
    Path certificate = folder.resolve("client-cert.pem");
    Path key = folder.resolve("client-key.pem");
    return Files.exists(certificate) || Files.exists(key) ? keys(certificate, key) : null;
  }

  private static SSLContext context(KeyManager @Nullable [] keys, TrustManager @Nullable [] trust)
      throws IOException {
    try {
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(keys, trust, null);
      return context;
    } catch (GeneralSecurityException e) {
      throw new IOException("TLS cannot be used: " + e.getMessage(), e);
    }
  }

  private static KeyManager[] keys(Path certificates, Path key) throws IOException {
    List<X509Certificate> chain = Pem.certificates(certificates);
    try {
      KeyStore store = emptyStore();
      store.setKeyEntry("own", Pem.key(key), NO_PASSWORD, chain.toArray(new X509Certificate[0]));
      KeyManagerFactory factory =
          KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
      factory.init(store, NO_PASSWORD);
      return factory.getKeyManagers();
    } catch (GeneralSecurityException e) {
      throw new IOException(certificates + ": cannot be used: " + e.getMessage(), e);
    }
  }

  private static TrustManager[] trusting(Path authorities) throws IOException {
    try {
      KeyStore store = emptyStore();
      int number = 0;
      for (X509Certificate authority : Pem.certificates(authorities)) {
        store.setCertificateEntry("authority" + number++, authority);
      }
      TrustManagerFactory factory =
          TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      factory.init(store);
      return factory.getTrustManagers();
    } catch (GeneralSecurityException e) {
      throw new IOException(authorities + ": cannot be used: " + e.getMessage(), e);
    }
  }

  private static KeyStore emptyStore() throws IOException, GeneralSecurityException {
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    return store;
  }

  /** Trusts whoever is there: what {@link #unverifiedClient} was asked for. */
  private static final class Anybody extends X509ExtendedTrustManager {
    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type) {}

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type) {}

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) {}

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) {}

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

    @Override
    public X509Certificate[] getAcceptedIssuers() {
      return new X509Certificate[0];
    }
  }
}
