package dev.imago.filter;

import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** A storage over another one, which is closed with it. All but the bytes is as it is below. */
abstract sealed class FilterStorage implements Storage permits FaultStorage, WindowStorage {
  final Storage below;

  FilterStorage(Storage below) {
    this.below = below;
  }

  @Override
  public String name() {
    return below.name();
  }

  @Override
  public boolean readOnly() {
    return below.readOnly();
  }

  @Override
  public int requestAlignment() {
    return below.requestAlignment();
  }

  /** What may be cached below must pass the filter too. */
  @Override
  public boolean readNow(ByteBuffer dst, long hostOffset) throws IOException {
    return false;
  }

  @Override
  public boolean zeroesCheaply() {
    return below.zeroesCheaply();
  }

  @Override
  public boolean holesReadAsZero() {
    return below.holesReadAsZero();
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    return below.run(hostOffset, maxLength);
  }

  @Override
  public long size() throws IOException {
    return below.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return below.allocatedBytes();
  }

  @Override
  public boolean fixedSize() {
    return below.fixedSize();
  }

  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    below.resize(size, preallocation);
  }

  @Override
  public void event(BlockEvent event) {
    below.event(event);
  }

  @Override
  public void flush() throws IOException {
    below.flush();
  }

  @Override
  public void invalidateCache() throws IOException {
    below.invalidateCache();
  }

  @Override
  public void close() throws IOException {
    below.close();
  }
}
