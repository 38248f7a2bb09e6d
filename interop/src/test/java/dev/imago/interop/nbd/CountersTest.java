package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.tools.attach.VirtualMachine;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.nio.file.Path;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnector;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What JMX says of {@code imago serve} after libnbd has used it. */
class CountersTest {
  @TempDir private Path folder;

  @Test
  void countersSayWhatAClientHasDone() throws Exception {
    Path image = folder.resolve("disk.qcow2");
    Path socket = folder.resolve("socket");
    Qemu.img("create", "-q", "-f", "qcow2", image, "4M");
    try (OurServer server = OurServer.start("-t", "-f", "qcow2", "-k", socket, image)) {
      assertThat(server.ready()).isTrue();
      try (JMXConnector connector = JMXConnectorFactory.connect(address(server.pid()))) {
        MBeanServerConnection beans = connector.getMBeanServerConnection();
        assertThat(counter(beans, "Address")).isEqualTo(socket.toString());
        assertThat(counter(beans, "ConnectionsAccepted")).isEqualTo(0L);

        Tool.run(
                "/usr/bin/python3",
                "-m",
                "nbd",
                "-u",
                OurServer.uri(socket, ""),
                "-c",
                """
                h.pwrite(b"a" * 65536, 0)
                h.pwrite(b"b" * 512, 1000, nbd.CMD_FLAG_FUA)
                assert h.pread(4096, 0)[1000:1512] == b"b" * 512
                h.pread(1 << 20, 1 << 20)
                h.set_strict_mode(0)
                try:
                    h.pread(512, 1 << 40)
                    assert False
                except nbd.Error:
                    pass
                h.flush()
                """)
            .ok();

        assertThat(counter(beans, "Writes")).isEqualTo(2L);
        assertThat(counter(beans, "BytesWritten")).isEqualTo(65536L + 512);
        assertThat(counter(beans, "Reads")).isEqualTo(2L);
        assertThat(counter(beans, "BytesRead")).isEqualTo(4096L + (1 << 20));
        assertThat(counter(beans, "Errors")).isEqualTo(1L);
        assertThat(counter(beans, "ConnectionsAccepted")).isEqualTo(1L);
        assertThat(counter(beans, "ConnectionsDropped")).isEqualTo(0L);
        while ((int) counter(beans, "Connections") > 0) {
          Thread.onSpinWait(); // the client has left; we may not have noticed yet
        }
        assertThat(counter(beans, "MemoryInUse")).isEqualTo(0L);
      }
      server.terminate();
      assertThat(server.status()).isZero();
    }
  }

  private static Object counter(MBeanServerConnection beans, String name) throws Exception {
    return beans.getAttribute(ObjectName.getInstance("dev.imago.nbd:type=Server"), name);
  }

  private static JMXServiceURL address(long pid) throws Exception {
    VirtualMachine machine = VirtualMachine.attach(String.valueOf(pid));
    try {
      return new JMXServiceURL(machine.startLocalManagementAgent());
    } finally {
      machine.detach();
    }
  }
}
