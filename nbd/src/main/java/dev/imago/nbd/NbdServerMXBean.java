package dev.imago.nbd;

/**
 * What a running server counts, for JMX. Counters begin with the server and only grow, but for
 * {@link #getConnections}.
 */
public interface NbdServerMXBean {
  /** Where it listens. */
  String getAddress();

  /** Clients that are connected now, those in the handshake included. */
  int getConnections();

  /** Clients that have ever connected. */
  long getConnectionsAccepted();

  /** Connections that ended because the client broke the protocol or was too slow. */
  long getConnectionsDropped();

  /** Reads that were answered with data. */
  long getReads();

  /** Bytes that were read; those told as zeroes count, too. */
  long getBytesRead();

  /** Writes that were done. */
  long getWrites();

  /** Bytes that were written. */
  long getBytesWritten();

  /** Requests that were answered with an error. */
  long getErrors();
}
