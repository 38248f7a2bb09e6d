package dev.imago.nbd;

import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How an export is used. Immutable: each method with an argument returns a changed copy.
 *
 * @param tls whom to trust, for an URI that wants TLS and names no certificates; null for what the
 *     JDK trusts
 * @param connections how many connections at most, 1 to 16; more than one only where the server
 *     says that they see each other's writes, and only when several requests are in flight
 * @param timeout how long the first connection, or one more, may take from the first packet to the
 *     end of the handshake
 * @param retry how long a lost connection is sought again before requests fail; zero to fail at
 *     once
 */
public record NbdClientOptions(
    @Nullable NbdTls tls, int connections, Duration timeout, Duration retry) {

  /** Checks the number of connections and the times. */
  public NbdClientOptions {
    if (connections < 1 || connections > 16) {
      throw new IllegalArgumentException(connections + " connections");
    }
    if (timeout.isNegative() || timeout.isZero() || retry.isNegative()) {
      throw new IllegalArgumentException("timeout %s, retry %s".formatted(timeout, retry));
    }
  }

  /** What the JDK trusts, 4 connections, 30 seconds for a connection, 10 to seek a lost one. */
  public static NbdClientOptions defaults() {
    return new NbdClientOptions(null, 4, Duration.ofSeconds(30), Duration.ofSeconds(10));
  }

  /** Whom to trust, and who we are. */
  public NbdClientOptions withTls(NbdTls tls) {
    return new NbdClientOptions(Objects.requireNonNull(tls), connections, timeout, retry);
  }

  /** How many connections at most. */
  public NbdClientOptions withConnections(int connections) {
    return new NbdClientOptions(tls, connections, timeout, retry);
  }

  /** How long a connection may take to be made. */
  public NbdClientOptions withTimeout(Duration timeout) {
    return new NbdClientOptions(tls, connections, timeout, retry);
  }

  /** How long a lost connection is sought again. */
  public NbdClientOptions withRetry(Duration retry) {
    return new NbdClientOptions(tls, connections, timeout, retry);
  }
}
