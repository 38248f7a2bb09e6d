package dev.imago.nbd;

/**
 * What a running server counts, for JMX. Counters begin with the server and only grow, but for
 * {@link #getConnections} and {@link #getMemoryInUse}.
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

  /**
   * Bytes of the buffers in use, for requests, their data and replies: at most {@link
   * NbdServerOptions#memory()} and {@link NbdServerOptions#CONNECTION_MEMORY} for each connection.
   */
  long getMemoryInUse();

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
