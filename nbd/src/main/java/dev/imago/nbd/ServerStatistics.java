package dev.imago.nbd;

import java.util.concurrent.atomic.LongAdder;

/** What a server counts. Safe for all threads. */
final class ServerStatistics implements NbdServerMXBean {
  private final NbdServer server;
  private final LongAdder accepted = new LongAdder();
  private final LongAdder dropped = new LongAdder();
  private final LongAdder reads = new LongAdder();
  private final LongAdder bytesRead = new LongAdder();
  private final LongAdder writes = new LongAdder();
  private final LongAdder bytesWritten = new LongAdder();
  private final LongAdder errors = new LongAdder();

  ServerStatistics(NbdServer server) {
    this.server = server;
  }

  void accepted() {
    accepted.increment();
  }

  void dropped() {
    dropped.increment();
  }

  void read(long bytes) {
    reads.increment();
    bytesRead.add(bytes);
  }

  void wrote(long bytes) {
    writes.increment();
    bytesWritten.add(bytes);
  }

  void failed() {
    errors.increment();
  }

  @Override
  public String getAddress() {
    return String.valueOf(server.address());
  }

  @Override
  public int getConnections() {
    return server.connections();
  }

  @Override
  public long getConnectionsAccepted() {
    return accepted.sum();
  }

  @Override
  public long getConnectionsDropped() {
    return dropped.sum();
  }

  @Override
  public long getMemoryInUse() {
    return server.payloads().usedBytes();
  }

  @Override
  public long getReads() {
    return reads.sum();
  }

  @Override
  public long getBytesRead() {
    return bytesRead.sum();
  }

  @Override
  public long getWrites() {
    return writes.sum();
  }

  @Override
  public long getBytesWritten() {
    return bytesWritten.sum();
  }

  @Override
  public long getErrors() {
    return errors.sum();
  }
}
